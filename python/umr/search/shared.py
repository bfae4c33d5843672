"""An exact search that ranks share: each searches shards of the passages, and their lists are put together in Rust."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from umr._rust import merge_topk
from umr.data.candidates import PADDING
from umr.data.embeddings import Embeddings
from umr.search.exact import Guard
from umr.search.lists import Lists, no_lists
from umr.storage import beside
from umr.work.ranks import Claims

Search = Callable[[int, Guard], Lists]
"""From a shard, and what keeps other ranks out of a file meanwhile, to the best passages [Q, k] of that shard, by their rows in all."""


def share(folder: Path, passages: Embeddings, search: Search, claims: Claims) -> None:
    """Search the shards that no other rank searches.

    Arguments:
        folder: of the lists, for this search alone.
        passages: finished embeddings.
        search: one shard.
        claims: of the ranks.
    """
    for unit, _ in claims.each([f"{folder.name}-{shard}" for shard in range(passages.shards)], wait=True):
        path = _part(folder, int(unit.rpartition("-")[2]))
        if not path.exists():
            found = search(int(unit.rpartition("-")[2]), claims.alone)
            with beside(path) as temporary, temporary.open("wb") as handle:
                np.savez(handle, rows=found.rows, scores=found.scores)


def collected(folder: Path, passages: Embeddings, queries: int, k: int) -> Lists | None:
    """The lists that ranks have found, as one search gives them; their files are removed. None where some are missing or damaged.

    Arguments:
        folder, passages: as in `share`.
        queries: Q.
        k: length of a list.
    """
    if not folder.exists():
        return None
    found = no_lists(queries, k)
    try:
        for shard in range(passages.shards):
            with _part(folder, shard).open("rb") as file, np.load(file, allow_pickle=False) as part:  # compared with its checksums
                both = [np.stack([ours, theirs]) for ours, theirs in zip(found, (part["rows"], part["scores"]), strict=True)]
            rows, scores = merge_topk(both[0], both[1], k)
            found.rows[:, : rows.shape[1]], found.scores[:, : rows.shape[1]] = rows, scores
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def of_all(found: Lists, first: int) -> Lists:
    """Lists of a shard whose first row is `first`, by the rows in all."""
    there = found.rows != PADDING
    return Lists(np.where(there, found.rows + np.uint32(first), found.rows), found.scores)


def _part(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05d}.npz"
