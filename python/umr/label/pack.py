"""Shared passages: the queries of a passage become branches of one trunk, and several trees fill one packed row.

A row has no padding. A token sees its own trunk and its own branch, and positions go on from the trunk in every branch, so
that each branch is computed as if it stood alone behind its passage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
TRUNK = -1


@dataclass(frozen=True)
class Branch:
    """What follows the trunk for one pair.

    Arguments:
        pair: the pair's number in the plan.
        ids: the rest of the source, then the target.
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
        """Tokens that are computed."""
        return len(self.trunk) + sum(len(b.ids) for b in self.branches)


@dataclass(frozen=True)
class Pack:
    """One packed row of T tokens.

    Arguments:
        ids: [T] token ids.
        positions: [T] restarted in every tree, continued in every branch.
        tree: [T] number of the tree.
        branch: [T] number of the branch in the row, TRUNK for trunk tokens.
        predict: [m] places whose next token is a target.
        targets: [m] those target ids.
        owner: [m] index into `pairs`.
        pairs: numbers of the pairs scored by this row.
    """

    ids: Ints
    positions: Ints
    tree: Ints
    branch: Ints
    predict: Ints
    targets: Ints
    owner: Ints
    pairs: list[int]


def grow(sources: Sequence[list[int]], targets: Sequence[list[int]], pairs: Sequence[int]) -> Tree:
    """The tree of pairs that share a passage: the trunk is the longest beginning that all sources have in common.

    Arguments:
        sources: token ids of each pair's prompt with its passage.
        targets: token ids of each pair's target.
        pairs: numbers of the pairs.

    Returns:
        a tree whose branches keep at least one source token each, so that the first target token has a place to be
        predicted from.
    """
    low, high = min(sources), max(sources)  # the common beginning of all is that of the two extremes
    shared = 0
    limit = min(len(s) for s in sources) - 1
    while shared < limit and low[shared] == high[shared]:
        shared += 1
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


def pack(trees: Sequence[Tree]) -> Pack:
    """Lay trees out in one row."""
    ids: list[int] = []
    positions: list[int] = []
    tree_of: list[int] = []
    branch_of: list[int] = []
    predict: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    pairs: list[int] = []
    for number, tree in enumerate(trees):
        stem = len(tree.trunk)
        ids += tree.trunk
        positions += range(stem)
        branch_of += [TRUNK] * stem
        for branch in tree.branches:
            end = len(ids) + len(branch.ids)
            predict += range(end - branch.targets - 1, end - 1)
            targets += branch.ids[len(branch.ids) - branch.targets :]
            owner += [len(pairs)] * branch.targets
            branch_of += [len(pairs)] * len(branch.ids)
            positions += range(stem, stem + len(branch.ids))
            ids += branch.ids
            pairs.append(branch.pair)
        tree_of += [number] * tree.tokens
    return Pack(
        _array(ids), _array(positions), _array(tree_of), _array(branch_of), _array(predict), _array(targets), _array(owner), pairs
    )  # fmt: skip


def _array(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def visible(row: Pack, window: int | None = None) -> NDArray[np.bool_]:
    """Which token sees which: the block mask of a row.

    Arguments:
        row: T tokens.
        window: a sliding window in tokens, or None for full attention.

    Returns:
        [T, T] bool; entry (i, j) says that i sees j: the same tree, j in the trunk or in i's branch, and not after i.
    """
    same_tree = row.tree[:, None] == row.tree[None, :]
    lineage = (row.branch[None, :] == TRUNK) | (row.branch[:, None] == row.branch[None, :])
    distance = row.positions[:, None] - row.positions[None, :]
    causal = np.tril(np.ones((len(row.ids), len(row.ids)), dtype=bool))
    near = distance < window if window else np.True_
    seen: NDArray[np.bool_] = same_tree & lineage & causal & near
    return seen
