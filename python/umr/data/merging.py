"""Merging: score segments of many processes, rounds and language models -> one table [M, Q, k], by content keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from umr.errors import UsageError

if TYPE_CHECKING:
    from umr._rust import Counter

Keys = NDArray[np.uint64]  # [m, 2]
NO_PASSAGE = 2**32 - 1  # in place of a row


@dataclass(frozen=True)
class Merged:
    """One table out of the segments of M stores.

    Arguments:
        scores: [M, Q, k] float32 nats, NaN where a store lacks the pair; mapped where it was written to a file.
        counts: of each store: `records` read, `torn` segments, `duplicates` (a wanted pair again, with the same score)
            and `conflicts` (with another score), a record once a query that wants it.
        torn: the segments that end in something torn; what stands before it was read.
    """

    scores: NDArray[np.float32]
    counts: list[dict[str, int]]
    torn: list[str]


def merge(
    stores: Sequence[Sequence[str]],
    query_keys: Keys,
    passage_keys: Keys,
    rows: NDArray[np.uint32],
    *,
    out: Path | None = None,
    memory: int | None = None,
    threads: int = 0,
    counter: Counter | None = None,
) -> Merged:
    """Join the segments of many processes, rounds and language models with the candidates that are to be labelled.

    Where a pair stands twice in a store, the first record counts: segments in the order given, records in the order
    written; a later one with another score is a conflict, counted and left out. A record without a finite score holds
    none. Of a segment, everything up to the first damaged or partial record counts. Other stores are other columns and
    never mix. Neither `threads` nor `memory` changes a byte.

    Arguments:
        stores: the segments of each store: `[store.segments()]`, for folders of one making joined in one list.
        query_keys: [Q, 2] content keys.
        passage_keys: [n, 2] content keys.
        rows: [Q, k] rows of `passage_keys`; `NO_PASSAGE` where a query has fewer candidates.
        out: a .npy file for the scores; None keeps them in memory.
        memory: bytes of queries and their scores in work at once; it bounds what is held where there is an `out`, at
            the price of more passes over the segments. None for a single pass.
        threads: 0 for all.
        counter: counts records read.

    Raises:
        FormatError: a file is no score segment.
        InputError: a segment is missing.
        StorageError: `out` cannot be written.
        UsageError: a row names no passage, shapes do not meet, or `memory` is below 1.
    """
    from umr._rust import merge_stores

    if memory is not None and memory < 1:
        raise UsageError(f"memory: expected at least 1 byte, or None for a single pass, got {memory}")
    scores, counts, torn = merge_stores(
        [list(segments) for segments in stores],
        query_keys,
        passage_keys,
        rows,
        out=str(out) if out else None,
        memory=memory or 0,
        threads=threads,
        counter=counter,
    )
    return Merged(np.load(str(out), mmap_mode="r") if scores is None else scores, counts, torn)


def distinct_passages(rows: NDArray[np.uint32], count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The passages that are candidates of anything, so that each is read and hashed once.

    Arguments:
        rows: [Q, k] rows of the corpus; `NO_PASSAGE` where a query has fewer candidates.
        count: passages of the corpus.

    Returns:
        [n] uint32 rows of the corpus, ascending and all different, and [Q, k] uint32 the place of each candidate among
        them, `NO_PASSAGE` kept.

    Raises:
        UsageError: a row is not of the corpus.
    """
    if ((rows >= count) & (rows != NO_PASSAGE)).any():
        raise UsageError(f"row {rows[(rows >= count) & (rows != NO_PASSAGE)][0]} of {count} passages")
    place = np.zeros(count + 1, dtype=np.uint32)  # the last entry stands for no passage
    flat = np.minimum(rows, count)
    place[flat] = 1
    place[count] = 0
    passages = np.flatnonzero(place).astype(np.uint32)
    place[passages] = np.arange(len(passages), dtype=np.uint32)
    place[count] = NO_PASSAGE
    return passages, place[flat]
