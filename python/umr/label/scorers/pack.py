"""Shared passages: the queries of a passage become branches of one trunk, and several trees fill one packed row.

A row has no padding and holds every common beginning once: branches that begin alike (the language's name, often the first
words of a question) share these tokens too. A token attends to its own ancestors alone, and its position counts them, so that
each branch is computed as if it stood alone behind its passage. The last token of a branch is predicted, never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from umr.errors import UsageError

Ints = NDArray[np.int64]
ROOT = -1


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


@dataclass(frozen=True)
class Pack:
    """One packed row of T tokens.

    Arguments:
        ids: [T] token ids.
        positions: [T] how many ancestors a token has.
        parent: [T] place of the token before it, ROOT for the first of a trunk; always an earlier place.
        trees: [n, 3] where each tree begins, where its trunk ends, and where it ends.
        predict: [m] places that predict a target, each once, ascending.
        rows: [t] index into `predict` for every target token: branches that begin alike share a place.
        targets: [t] target ids.
        owner: [t] number of the branch, counted over all trees.
        branches: how many there are.
    """

    ids: Ints
    positions: Ints
    parent: Ints
    trees: Ints
    predict: Ints
    rows: Ints
    targets: Ints
    owner: Ints
    branches: int


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
        raise UsageError("a prompt has no tokens, so nothing predicts its question", "give a --template with more than the passage")
    low, high = min(sources), max(sources)  # the common beginning of all is that of the two extremes
    shared, limit = 0, min(len(s) for s in sources)
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


class _Row:
    """A row that grows token by token."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.parent: list[int] = []
        self.trees: list[tuple[int, int, int]] = []
        self.predict: list[int] = []
        self.targets: list[int] = []
        self.owner: list[int] = []
        self.branches = 0
        self._children: dict[tuple[int, int], int] = {}

    def add(self, tree: Tree) -> None:
        """Lay out a tree behind those before it."""
        self._children.clear()
        start = len(self.ids)
        stem = ROOT
        for token in tree.trunk:
            stem = self._step(stem, token)
        end = len(self.ids)
        for branch in tree.branches:
            self._branch(stem, branch)
        self.trees.append((start, end, len(self.ids)))

    def _branch(self, at: int, branch: Branch) -> None:
        first, last = len(branch.ids) - branch.targets, len(branch.ids) - 1
        for number, token in enumerate(branch.ids):
            if number >= first:
                self.predict.append(at)
                self.targets.append(token)
                self.owner.append(self.branches)
            if number < last:
                at = self._step(at, token)
        self.branches += 1

    def _step(self, at: int, token: int) -> int:
        """The place of a token behind another, which is made where there is none yet."""
        place = self._children.setdefault((at, token), len(self.ids))
        if place == len(self.ids):
            self.ids.append(token)
            self.parent.append(at)
            self.positions.append(self.positions[at] + 1 if at != ROOT else 0)
        return place


def pack(trees: Sequence[Tree]) -> Pack:
    """Lay trees out in one row."""
    row = _Row()
    for tree in trees:
        row.add(tree)
    predict, rows = np.unique(_array(row.predict), return_inverse=True)
    ids, positions, parent, targets, owner = map(_array, (row.ids, row.positions, row.parent, row.targets, row.owner))
    return Pack(ids, positions, parent, _array(row.trees), predict, rows.reshape(-1).astype(np.int64), targets, owner, row.branches)


def _array(values: Sequence[int] | Sequence[tuple[int, int, int]]) -> Ints:
    return np.array(values, dtype=np.int64)


def visible(row: Pack, window: int | None = None) -> NDArray[np.bool_]:
    """Which token sees which: the block mask of a row.

    Arguments:
        row: T tokens.
        window: a sliding window in tokens, or None for full attention.

    Returns:
        [T, T] bool; entry (i, j) says that i sees j: j is i or an ancestor of i, and near enough.
    """
    return ancestors(row, 0, len(row.ids), window)


def ancestors(row: Pack, start: int, end: int, window: int | None = None) -> NDArray[np.bool_]:
    """`visible` among the places from `start` to `end`; ancestors outside are left out.

    Arguments:
        row: T tokens.
        start, end: a whole number of trees, or a part of one.
        window: a sliding window in tokens, or None for full attention.

    Returns:
        [end - start, end - start] bool.
    """
    parent, size = row.parent[start:end] - start, end - start
    seen = np.zeros((size, size), dtype=bool)
    runs = np.flatnonzero(parent != np.arange(size) - 1)  # within a run each token follows the one before it
    runs = runs if len(runs) and runs[0] == 0 else np.concatenate([[0], runs])
    for first, last in pairwise([*runs.tolist(), size]):
        if parent[first] >= 0:
            seen[first:last, :first] = seen[parent[first], :first]
        seen[first:last, first:last] = np.tri(last - first, dtype=bool)
    if window:
        positions = row.positions[start:end]
        seen &= positions[:, None] - positions[None, :] < window
    return seen
