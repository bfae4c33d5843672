"""Exact top-k on the processor: in Rust over memory-mapped shards (paper, section 3.1; docs/search.md has the proof)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from umr._rust import search, write_int8_shards
from umr.data.embeddings import Embeddings
from umr.errors import FormatError, MismatchError, StorageError, UsageError
from umr.layout import int8_manifest
from umr.manifest import Growing
from umr.progress import Reporter, Silent, follow
from umr.search.lists import Bools, Floats, Lists, no_lists

Guard = Callable[[], AbstractContextManager[None]]
SCREENED_QUERIES = 24  # from so many on, int8 shards are worth making (as in rust/src/search/group.rs)
FREE_DISK_BYTES = 1 << 30  # that int8 shards leave on the disk
LEAST_MEMORY_BYTES = 1 << 24  # of working memory: less would make many passes over all passages
CHECKPOINT_SECONDS = 30.0  # between two checkpoints


def top_k(
    queries: Floats,
    passages: Embeddings,
    k: int,
    threads: int = 0,
    reporter: Reporter | None = None,
    *,
    only: Bools | None = None,
    memory: int | None = None,
    checkpoint: Path | None = None,
    shard: int | None = None,
    guard: Guard = nullcontext,
) -> Lists:
    """The k passages of the largest inner product with each query.

    Arguments:
        queries: [Q, d] float32.
        passages: finished embeddings, n rows; an int8 shard is made beside each shard once, and screened with.
        k: length of a list.
        threads: 0 takes all; the result does not depend on it.
        reporter: shows the progress.
        only: [n] which passages are searched. (default: all)
        memory: bytes that queries, results and the search may take; mapped files do not count. (default: 1 GiB beside
            queries and results)
        checkpoint: a file that a killed search goes on from; removed in the end. (default: none)
        shard: search this one alone, whose rows count from 0; `only` is of them. (default: all)
        guard: keeps other processes away while the manifest of the int8 shards is written.

    Returns:
        lists [Q, k]: score down, then row up.

    Raises:
        UsageError: `memory` does not hold the queries and their results.
        ScoreError: a vector is not finite.
        StorageError: a shard is not as long as its rows.
    """
    reporter = reporter or Silent()
    room = 0 if memory is None else _room(memory, queries.nbytes + len(queries) * k * 8)
    shards = list(range(passages.shards)) if shard is None else [shard]
    int8_shards = _int8_shards(queries, passages, shards, threads, reporter, guard)
    with follow(reporter, "searching", len(queries), "queries") as counter:
        rows, scores = search(
            queries, passages.mapped(shards), passages.dtype, k, threads=threads, counter=counter,
            only=None if only is None else np.ascontiguousarray(only).view(np.uint8),
            int8_shards=int8_shards, memory=room, checkpoint=None if checkpoint is None else str(checkpoint),
            checkpoint_seconds=CHECKPOINT_SECONDS,
        )  # fmt: skip
    if rows.shape[1] == k:
        return Lists(rows, scores)
    found = no_lists(len(queries), k)  # the core's lists are as wide as the longest of them
    found.rows[:, : rows.shape[1]], found.scores[:, : rows.shape[1]] = rows, scores
    return found


def _int8_shards(queries: Floats, passages: Embeddings, shards: list[int], threads: int, reporter: Reporter, guard: Guard) -> list[str]:
    """The paths of the int8 shards, made where they are missing; a shard without one (an empty path) is quantised while it is searched."""
    with guard():
        known = _known(passages)
    missing = [shard for shard in shards if not _whole(known, passages.int8_shard(shard), passages)]
    if missing and len(queries) < SCREENED_QUERIES:
        return []
    needed, free = len(missing) * passages.shard_rows * (passages.dimensions + 20), shutil.disk_usage(passages.folder).free
    if missing and free < needed + FREE_DISK_BYTES:
        reporter.warn(f"no int8 shards: the disk has {free / 1e9:.1f} GB free, they take {needed / 1e9:.1f}; every search quantises again")
    elif missing:
        missing = _quantise(passages, missing, threads, reporter, guard)
    return ["" if shard in missing else str(passages.int8_shard(shard)) for shard in shards]


def _known(passages: Embeddings) -> Growing:
    """The manifest of the int8 shards. One of other vectors, or a damaged one, is begun anew."""
    path, made_from = int8_manifest(passages.folder), {"vectors": passages.identity}
    try:
        return Growing(path, "int8", made_from, {})
    except (FormatError, MismatchError):
        path.unlink(missing_ok=True)
        return Growing(path, "int8", made_from, {})


def _whole(known: Growing, place: Path, passages: Embeddings) -> bool:
    if place.name not in passages.opened and known.has(place, hint=None):
        passages.opened.add(place.name)
    return place.name in passages.opened


def _quantise(passages: Embeddings, missing: list[int], threads: int, reporter: Reporter, guard: Guard) -> list[int]:
    """Write int8 shards; returns those that could not be written."""
    shards, left = dict(zip(missing, passages.mapped(missing), strict=True)), list(missing)
    with follow(reporter, "quantising passages", sum(rows for *_, rows in shards.values()), "passages") as counter:
        for shard, vectors in shards.items():
            place = passages.int8_shard(shard)
            try:
                write_int8_shards([vectors], passages.dtype, passages.dimensions, [str(place)], threads=threads, counter=counter)
                with guard():
                    _known(passages).add(place)
            except StorageError as error:
                reporter.warn(f"not all int8 shards are kept, so that every search quantises again: {error.message}")
                return left
            passages.opened.add(place.name)
            left.remove(shard)
    return left


def _room(memory: int, given: int) -> int:
    """Bytes that are left beside queries and results.

    Raises:
        UsageError: too few.
    """
    if memory < given + LEAST_MEMORY_BYTES:
        raise UsageError(
            f"memory is {memory / 1e6:,.1f} MB, but queries and results take {given / 1e6:,.1f} MB and a search some more",
            f"set memory to {math.ceil((given + LEAST_MEMORY_BYTES) / 1e6)}MB or more under [mine] of a run file (--config)",
        )
    return memory - given
