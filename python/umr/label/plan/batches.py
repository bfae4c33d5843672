"""The order of the work: pairs into trees, trees into batches of similar length under a token budget, the largest first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from umr.label.prompts.token_ids import TokenIds

Ints = NDArray[np.int64]


class Batches(NamedTuple):
    """Batches of trees of m pairs.

    Arguments:
        order: [m] pairs, as places in the list that was arranged.
        trees: [t + 1] tree i holds `order[trees[i]:trees[i + 1]]`.
        batches: [b + 1] batch i holds the trees `batches[i]` to `batches[i + 1]`.
        sizes: [t] tokens of every tree.
    """

    order: Ints
    trees: Ints
    batches: Ints
    sizes: Ints


def arrange(
    sources: TokenIds, targets: TokenIds, source_of: Ints, target_of: Ints, rows: Ints, budget: int, *, share: bool, whole_sources: bool
) -> Batches:
    """Put pairs into batches.

    Arguments:
        sources, targets: token ids.
        source_of, target_of: [m] the texts of each pair.
        rows: [m] the passage of each pair.
        budget: tokens of a batch at most; a single pair that is longer is a batch of its own.
        share: whether pairs share a tree.
        whole_sources: of an encoder-decoder, where a tree is one source; otherwise it is a passage, whose sources begin alike.
    """
    source_lengths, target_lengths = sources.lengths[source_of], targets.lengths[target_of]
    key = (source_of if whole_sources else rows) if share else np.arange(len(rows))
    order = np.lexsort((np.arange(len(rows)), -target_lengths if whole_sources else source_of, key))
    starts = np.flatnonzero(np.diff(key[order], prepend=key[order[:1]] - 1))
    sizes, bounds = [], []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        members = order[start:end]
        trunk = int(source_lengths[members[0]]) if whole_sources else _common(sources, source_of[members])
        branches = source_lengths[members] - trunk + target_lengths[members]
        for first, last in _parts(trunk, branches.tolist(), budget):
            sizes.append((trunk, trunk + int(branches[first:last].sum())))
            bounds.append((start + first, start + last))
    return _in_batches(order, np.array(sizes), np.array(bounds), budget, whole_sources)


def _common(sources: TokenIds, numbers: Ints) -> int:
    """Tokens that some sources begin with."""
    first, *others = (sources[int(number)] for number in np.unique(numbers))
    shared = min(len(first), *map(len, others)) if others else len(first)
    for other in others:
        differ = np.flatnonzero(first[:shared] != other[:shared])
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


def _in_batches(order: Ints, sizes: Ints, bounds: Ints, budget: int, by_trunk: bool) -> Batches:
    """Trees from long to short (by trunk where trunks are padded), as many in a batch as fit."""
    ranked = np.lexsort((bounds[:, 0], -sizes[:, 0 if by_trunk else 1]))
    sizes, bounds = sizes[ranked], bounds[ranked]
    batches, filled = [0], 0
    for place, tokens in enumerate(sizes[:, 1].tolist()):
        if place > batches[-1] and filled + tokens > budget:
            batches.append(place)
            filled = 0
        filled += tokens
    places = np.concatenate([order[first:last] for first, last in bounds.tolist()])
    trees = np.concatenate([[0], np.cumsum(bounds[:, 1] - bounds[:, 0])]).astype(np.int64)
    return Batches(places, trees, np.array([*batches, len(sizes)], dtype=np.int64), sizes[:, 1])
