"""Exact top-k search: in Rust over memory-mapped shards (paper, section 3.1; docs/search.md has the proof)."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING
from umr.data.embeddings import Embeddings
from umr.errors import InputError, StorageError, UsageError
from umr.progress import Reporter, Silent, follow

FEW = 24  # queries that are cheaper scored exactly than screened, where there is no copy in 8 bits yet (as in rust/src/search/group.rs)
SPARE = 1 << 30  # bytes of the disk that copies leave alone
LEAST = 1 << 24  # bytes of working memory: less would make many passes over all passages
EVERY = 30.0  # seconds between two checkpoints


def top_k(
    queries: NDArray[np.float32],
    passages: Embeddings,
    k: int,
    threads: int = 0,
    reporter: Reporter | None = None,
    *,
    only: NDArray[np.bool_] | None = None,
    memory: int | None = None,
    checkpoint: Path | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The k passages of the largest inner product with each query.

    Arguments:
        queries: [Q, d] float32.
        passages: finished embeddings, n rows; a copy in 8 bits is made beside each shard once, and screened with.
        k: at most n.
        threads: 0 takes all; the result does not depend on it.
        reporter: shows the progress.
        only: [n] which passages are searched. (default: all)
        memory: bytes that queries, results and the search may take; mapped files do not count. (default: 1 GiB beside
            queries and results)
        checkpoint: a file that a killed search goes on from; removed in the end. (default: none)

    Returns:
        rows [Q, k] uint32 and scores [Q, k] float32: score down, then row up. A list that `only` leaves shorter ends with row
        2**32 - 1 and score -inf.

    Raises:
        InputError: k is larger than the corpus.
        UsageError: `memory` does not hold the queries and their results.
        ScoreError: a vector is not finite.
        StorageError: a shard is not as long as its rows.
    """
    from umr._rust import search

    if k > passages.rows:
        raise InputError(f"top-k is {k}, but there are only {passages.rows} passages", f"use --top-k {passages.rows} or less")
    reporter = reporter or Silent()
    room = 0 if memory is None else _room(memory, queries.nbytes + len(queries) * k * 8)
    copies = _copies(queries, passages, threads, reporter)
    with follow(reporter, "searching", len(queries), "queries") as counter:
        found = search(
            queries, passages.mapped(), passages.dtype, k, threads=threads, counter=counter,
            only=None if only is None else np.ascontiguousarray(only).view(np.uint8),
            int8_shards=copies, memory=room, checkpoint=None if checkpoint is None else str(checkpoint), checkpoint_seconds=EVERY,
        )  # fmt: skip
    return _as_wide(*found, k)


def _copies(queries: NDArray[np.float32], passages: Embeddings, threads: int, reporter: Reporter) -> list[str]:
    """Where the copies in 8 bits stand, made where they are missing; a shard without one is quantised while it is searched."""
    from umr._rust import write_int8_shards

    places = [passages.copy(shard) for shard in range(passages.shards)]
    paths = [str(place) for place in places]
    if len(queries) < FEW:
        return paths if all(place.exists() for place in places) else []
    missing = sum(not place.exists() for place in places) * passages.shard_rows
    needed, free = missing * (passages.dimensions + 20), shutil.disk_usage(passages.folder).free
    if missing and free < needed + SPARE:
        reporter.warn(
            f"no copies in 8 bits: the disk has {free / 1e9:.1f} GB free, they take {needed / 1e9:.1f}; searching quantises each time"
        )
        return paths
    try:
        shown = reporter if missing else Silent()  # what is there is only looked at
        with follow(shown, "quantising passages", passages.rows, "passages") as counter:
            write_int8_shards(passages.mapped(), passages.dtype, passages.dimensions, paths, threads=threads, counter=counter)
    except StorageError as error:
        reporter.warn(f"not all copies in 8 bits are kept, so that every search quantises again: {error.message}")
    return paths


def _room(memory: int, given: int) -> int:
    """Bytes that are left beside queries and results.

    Raises:
        UsageError: too few.
    """
    if memory < given + LEAST:
        raise UsageError(
            f"memory is {memory / 1e6:,.1f} MB, but queries and results take {given / 1e6:,.1f} MB and a search some more",
            f"set memory to {math.ceil((given + LEAST) / 1e6)}MB or more under [mine] of a run file (--config)",
        )
    return memory - given


def _as_wide(rows: NDArray[np.uint32], scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    missing = k - rows.shape[1]
    if not missing:
        return rows, scores
    sides = ((0, 0), (0, missing))
    return np.pad(rows, sides, constant_values=PADDING), np.pad(scores, sides, constant_values=-np.inf)
