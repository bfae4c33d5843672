"""Passages with equal vectors: a graph holds one of them, for a cluster of equal vectors would link only to itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umr.data.embeddings import Embeddings
from umr.search.lists import Floats, Ints, Rows

BLOCK_ROWS = 65536  # compared at a time


def hashes(vectors: Floats) -> NDArray[np.uint64]:
    """A hash [m] of each row of [m, d], equal where rows are equal."""
    weights = np.random.default_rng(0).integers(0, 2**64, vectors.shape[1], dtype=np.uint64) | np.uint64(1)
    bits = (vectors + np.float32(0)).view(np.uint32)  # negative zero becomes zero
    found: NDArray[np.uint64] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return found


def equal_pairs(passages: Embeddings, hashed: NDArray[np.uint64]) -> Rows:
    """Which passages have the vector of an earlier one.

    Arguments:
        passages: n rows.
        hashed: [n] their hashes.

    Returns:
        [m, 2]: the first row with this vector, and a later one; ascending. A row that shares a hash by chance is left out.
    """
    order = np.argsort(hashed, kind="stable").astype(np.uint32)
    begins = np.flatnonzero(np.diff(hashed[order], prepend=~hashed[order[:1]]))
    firsts = np.repeat(order[begins], np.diff(begins, append=len(order)))
    pairs: Rows = np.stack([firsts, order], axis=1)[firsts != order]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    equal = [
        (passages.read(part[:, 0]) == passages.read(part[:, 1])).all(axis=1)
        for part in (pairs[at : at + BLOCK_ROWS] for at in range(0, len(pairs), BLOCK_ROWS))
    ]
    return np.compress(np.concatenate(equal), pairs, axis=0) if equal else pairs


def with_equal(pairs: Rows, rows: Rows, most: int) -> tuple[Ints, Rows]:
    """Every row with the later rows of the same vector.

    Arguments:
        pairs: [m, 2] as `equal_pairs` gives them.
        rows: [r] rows that are no later ones.
        most: later rows taken of one row, the earliest.

    Returns:
        which of `rows` each result stands for, and its row: first all of `rows`, then the later ones.
    """
    start, end = (np.searchsorted(pairs[:, 0], rows, side=side) for side in ("left", "right"))
    counts = np.minimum(end - start, most)
    of = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.concatenate([np.arange(len(rows)), of]), np.concatenate([rows, pairs[start[of] + within, 1]])
