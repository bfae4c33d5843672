"""Trees: a passage with its queries, whose token ids begin alike and are computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from umr.errors import UsageError


@dataclass(frozen=True)
class Branch:
    """What follows the trunk for one pair.

    Arguments:
        pair: the pair's number in the plan.
        ids: the rest of the source (none where the trunk is the whole source), then the target.
        targets: how many of the last ids are target tokens, at least one.
    """

    pair: int
    ids: list[int]
    targets: int


@dataclass(frozen=True)
class Tree:
    """A passage with its queries: token ids that all of them begin with, and a branch for each."""

    trunk: list[int]
    branches: list[Branch]

    @property
    def tokens(self) -> int:
        """Tokens of the trunk and of all branches: at least as many as are computed."""
        return len(self.trunk) + sum(len(b.ids) for b in self.branches)


def grow(sources: Sequence[list[int]], targets: Sequence[list[int]], pairs: Sequence[int]) -> Tree:
    """The tree of pairs that share a passage: the trunk is the longest beginning that all sources have in common.

    Arguments:
        sources: token ids of each pair's prompt with its passage; at least one, so that something predicts the first target.
        targets: token ids of each pair's target.
        pairs: numbers of the pairs.

    Raises:
        UsageError: a source has no tokens.
    """
    if not all(sources):
        raise UsageError("a prompt has no tokens, so nothing predicts its query", "give a --template with more than the passage")
    low, high = min(sources), max(sources)  # the common beginning of all is that of the two extremes
    shared = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    branches = [Branch(p, s[shared:] + t, len(t)) for p, s, t in zip(pairs, sources, targets, strict=True)]
    return Tree(sources[0][:shared], branches)


def split(tree: Tree, budget: int) -> Iterator[Tree]:
    """Cut a tree that is larger than the budget into trees that repeat its trunk."""
    part: list[Branch] = []
    size = len(tree.trunk)
    for branch in tree.branches:
        if part and size + len(branch.ids) > budget:
            yield Tree(tree.trunk, part)
            part, size = [], len(tree.trunk)
        part.append(branch)
        size += len(branch.ids)
    yield Tree(tree.trunk, part)


def fill(trees: Iterable[Tree], budget: int) -> Iterator[list[Tree]]:
    """Put trees into rows of at most `budget` tokens, in order; a tree that is larger stands alone, split if it can be."""
    row: list[Tree] = []
    size = 0
    for tree in trees:
        for part in split(tree, budget):
            if row and size + part.tokens > budget:
                yield row
                row, size = [], 0
            row.append(part)
            size += part.tokens
    if row:
        yield row
