"""Passages whose vectors are equal: an index holds one of them, for a cluster of copies would cut its graph to pieces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umr.data.embeddings import Embeddings
from umr.mine.lists import Floats, Rows

BLOCK = 65536  # rows compared at a time


def marks(vectors: Floats) -> NDArray[np.uint64]:
    """One number [m] for each row of [m, d], equal where rows are equal and hardly ever elsewhere."""
    weights = np.random.default_rng(0).integers(0, 2**64, vectors.shape[1], dtype=np.uint64) | np.uint64(1)
    bits = (vectors + np.float32(0)).view(np.uint32)  # negative zero becomes zero
    found: NDArray[np.uint64] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return found


def copies_of(passages: Embeddings, found: NDArray[np.uint64]) -> Rows:
    """Which passages repeat the vector of an earlier one.

    Arguments:
        passages: n rows.
        found: [n] their marks.

    Returns:
        [m, 2]: the first row with this vector, and a later one; ascending. A row whose mark is shared by chance is left out.
    """
    order = np.argsort(found, kind="stable").astype(np.uint32)
    begins = np.flatnonzero(np.diff(found[order], prepend=~found[order[:1]]))
    firsts = np.repeat(order[begins], np.diff(begins, append=len(order)))
    pairs: Rows = np.stack([firsts, order], axis=1)[firsts != order]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    equal = [
        (passages.read(part[:, 0]) == passages.read(part[:, 1])).all(axis=1)
        for part in (pairs[at : at + BLOCK] for at in range(0, len(pairs), BLOCK))
    ]
    return np.compress(np.concatenate(equal), pairs, axis=0) if equal else pairs


def with_copies(copies: Rows, rows: Rows, most: int) -> tuple[NDArray[np.intp], Rows]:
    """Every row with the rows that repeat it.

    Arguments:
        copies: [m, 2] as `copies_of` gives them.
        rows: [r] rows that repeat none.
        most: copies taken of one row, the earliest.

    Returns:
        which of `rows` each result stands for, and its row: first all of `rows`, then the copies.
    """
    start, end = (np.searchsorted(copies[:, 0], rows, side=side) for side in ("left", "right"))
    counts = np.minimum(end - start, most)
    of = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.concatenate([np.arange(len(rows)), of]), np.concatenate([rows, copies[start[of] + within, 1]])
