"""An exact search that ranks share: each searches shards of the passages, and their lists are put together in Rust."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from umr._rust import merge_topk
from umr.data.embeddings import Embeddings
from umr.search.lists import Lists, no_lists
from umr.storage import beside
from umr.work.ranks import Claims

Search = Callable[[int], Lists]
"""From a shard to its best passages [Q, k], by their rows in all."""


def share(folder: Path, passages: Embeddings, search: Search, claims: Claims) -> None:
    """Search the shards that no other rank searches, and keep their lists.

    Arguments:
        folder: of the lists, for this search alone.
        passages: finished embeddings.
        search: one shard.
        claims: of the ranks.
    """
    shards = {f"{folder.name}-{shard}": shard for shard in range(passages.shards)}
    for unit, _ in claims.each(list(shards), wait=True):
        path = _part(folder, shards[unit])
        if not path.exists():
            found = search(shards[unit])
            with beside(path) as temporary, temporary.open("wb") as handle:
                np.savez(handle, rows=found.rows, scores=found.scores)


def put_together(folder: Path, passages: Embeddings, search: Search, queries: int, k: int) -> Lists:
    """The lists of all shards as one search gives them; their files are removed.

    Arguments:
        folder, passages: as in `share`.
        search: a shard whose lists are missing or damaged.
        queries: Q.
        k: length of a list.
    """
    found = no_lists(queries, k)
    for shard in range(passages.shards):
        part = _read(_part(folder, shard), found.rows.shape) or search(shard)
        rows, scores = merge_topk(np.stack([found.rows, part.rows]), np.stack([found.scores, part.scores]), k)
        found.rows[:, : rows.shape[1]], found.scores[:, : rows.shape[1]] = rows, scores
    shutil.rmtree(folder)
    return found


def _read(path: Path, shape: tuple[int, ...]) -> Lists | None:
    """The lists in a file, compared with its checksums; None where it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            part = Lists(kept["rows"], kept["scores"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return part if part.rows.shape == part.scores.shape == shape else None


def _part(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05d}.npz"
