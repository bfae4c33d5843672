"""The order of the work: pairs into trees, trees into batches of similar length under a token budget, the largest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umr.label.texts import Texts

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Arrangement:
    """Batches of trees of pairs.

    Arguments:
        order: [m] pairs, as places in the plan's list of pairs.
        trees: [t + 1] tree i holds `order[trees[i]:trees[i + 1]]`.
        batches: [b + 1] batch i holds the trees `batches[i]` to `batches[i + 1]`.
        sizes: [t] tokens of every tree.
    """

    order: Ints
    trees: Ints
    batches: Ints
    sizes: Ints

    def tokens(self, batch: int) -> int:
        """Tokens of a batch, without padding."""
        return int(self.sizes[self.batches[batch] : self.batches[batch + 1]].sum())


def arrange(texts: Texts, rows: Ints, budget: int, *, shared: bool, packed: bool) -> Arrangement:
    """Plan the work.

    Arguments:
        texts: of m pairs.
        rows: [m] their passages.
        budget: tokens of a batch at most; a single pair that is longer is a batch of its own.
        shared: whether pairs share a tree.
        packed: of a causal model, whose tree is a passage; otherwise a tree is a source, and sources are padded.
    """
    sources, targets = texts.sources.lengths[texts.source_of], texts.targets.lengths[texts.target_of]
    whole = (rows if packed else texts.source_of) if shared else np.arange(len(rows))
    order = np.lexsort((np.arange(len(rows)), -targets if not packed else texts.source_of, whole))
    starts = np.flatnonzero(np.diff(whole[order], prepend=whole[order[:1]] - 1))
    trunks, bounds = [], []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        members = order[start:end]
        trunk = _common(texts, members) if packed else int(sources[members[0]])
        branches = (sources[members] - trunk if packed else 0) + targets[members]
        for first, last in _parts(trunk, branches.tolist(), budget):
            trunks.append((trunk, trunk + int(branches[first:last].sum())))
            bounds.append((start + first, start + last))
    return _in_batches(order, np.array(trunks), np.array(bounds), budget, packed)


def _common(texts: Texts, members: Ints) -> int:
    """Tokens that the sources of some pairs begin with."""
    some = [texts.sources.array(int(number)) for number in np.unique(texts.source_of[members])]
    shared = min(map(len, some))
    for other in some[1:]:
        differ = np.flatnonzero(some[0][:shared] != other[:shared])
        shared = int(differ[0]) if len(differ) else shared
    return shared


def _parts(trunk: int, branches: list[int], budget: int) -> list[tuple[int, int]]:
    """Cut a tree that is larger than the budget; every part repeats the trunk."""
    parts, first, size = [], 0, trunk
    for place, tokens in enumerate(branches):
        if place > first and size + tokens > budget:
            parts.append((first, place))
            first, size = place, trunk
        size += tokens
    return [*parts, (first, len(branches))]


def _in_batches(order: Ints, sizes: Ints, bounds: Ints, budget: int, packed: bool) -> Arrangement:
    """Trees from long to short (by trunk where trunks are padded), as many in a batch as fit."""
    ranked = np.lexsort((bounds[:, 0], -sizes[:, 1 if packed else 0]))
    sizes, bounds = sizes[ranked], bounds[ranked]
    batches, filled = [0], 0
    for place, tokens in enumerate(sizes[:, 1].tolist()):
        if place > batches[-1] and filled + tokens > budget:
            batches.append(place)
            filled = 0
        filled += tokens
    places = np.concatenate([order[first:last] for first, last in bounds.tolist()])
    trees = np.concatenate([[0], np.cumsum(bounds[:, 1] - bounds[:, 0])]).astype(np.int64)
    return Arrangement(places, trees, np.array([*batches, len(sizes)], dtype=np.int64), sizes[:, 1])
