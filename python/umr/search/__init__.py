"""The passages of the largest inner product: exact on the processor, exact on a GPU, or approximate (docs/search.md)."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from umr.config import MineConfig
from umr.data.candidates import PADDING
from umr.data.embeddings import Embeddings
from umr.errors import InputError, ScoreError, UsageError
from umr.layout import unfinished_search
from umr.models.device import pick_device
from umr.progress import Reporter, Silent
from umr.search.exact import Guard, top_k
from umr.search.gpu import top_k_on
from umr.search.hnsw import hnsw_top_k
from umr.search.lists import Bools, Floats, Lists, no_lists
from umr.search.shared import put_together, share
from umr.sizes import bytes_of
from umr.work.ranks import Claims

NEARLY_ALL = 0.9  # of the passages: so many that count are found by a graph over all


def find(
    queries: Floats,
    passages: Embeddings,
    k: int,
    config: MineConfig,
    reporter: Reporter | None = None,
    only: Bools | None = None,
) -> Lists:
    """The k passages of the largest inner product with each query, by the index that `config` names.

    Where only some passages count, the search is exact whatever the index, unless these are nearly all: the neighbours of a
    query in a graph over all passages may hold none of them. A query whose vector is zero finds nothing.

    Arguments:
        queries: [Q, d] float32.
        passages: finished embeddings, n rows.
        k: at most n.
        config: `index`, `device`, `threads` and `memory` count.
        reporter: shows the progress, and the recall where the answer is approximate.
        only: [n] which passages count. (default: all)

    Returns:
        lists [Q, k]: score down, then row up; shorter where `only` leaves fewer passages than k.

    Raises:
        InputError: k is larger than the corpus.
        MismatchError: the index on disk is that of other embeddings.
        ScoreError: a vector is not finite, or a score is beyond float32.
        UsageError: k is below 1, `memory` is too small, or queries and passages differ in dimensions.
    """
    reporter = reporter or Silent()
    _require_searchable(queries, passages, k)

    def exact(sample: Floats, wanted: int) -> Lists:
        return _exact(sample, passages, wanted, config, reporter, only)

    if config.index == "exact" or (only is not None and only.mean() < NEARLY_ALL):
        found = exact(queries, k)
    else:
        found = hnsw_top_k(queries, passages, k, exact, config.threads, reporter, only)
    empty = ~queries.any(axis=1)
    if empty.any():
        found.rows[empty], found.scores[empty] = no_lists(int(empty.sum()), k)
    return found


def share_search(
    queries: Floats, passages: Embeddings, k: int, config: MineConfig, claims: Claims, reporter: Reporter, only: Bools | None = None
) -> None:
    """Do the part of a rank in an exact search, shard by shard; `find` then finds what all have found.

    Arguments:
        queries, passages, k, config, reporter, only: as in `find`.
        claims: of the ranks.

    Raises:
        as `find`.
    """
    _require_searchable(queries, passages, k)
    search = partial(_exact_shard, queries, passages, k, config, reporter, only, claims.alone)
    share(_unfinished(queries, passages, k, only).with_suffix(".shared"), passages, search, claims)


def _exact(queries: Floats, passages: Embeddings, k: int, config: MineConfig, reporter: Reporter, only: Bools | None) -> Lists:
    """On a GPU where `config.device` is one, else in Rust; the bytes are the same. What ranks have searched is not searched again."""
    # A single query ends before a checkpoint is worth its file, and several processes may ask one at a time.
    checkpoint = _unfinished(queries, passages, k, only) if len(queries) > 1 else None
    if checkpoint and (folder := checkpoint.with_suffix(".shared")).exists():
        search = partial(_exact_shard, queries, passages, k, config, reporter, only, nullcontext)
        return put_together(folder, passages, search, len(queries), k)
    device = pick_device(config.device)
    memory = bytes_of(config.memory, "memory") if config.memory else None
    if device.type == "cuda":
        return top_k_on(device, queries, passages, k, memory=memory, reporter=reporter, only=only)
    return top_k(queries, passages, k, config.threads, reporter, only=only, memory=memory, checkpoint=checkpoint)


def _exact_shard(
    queries: Floats, passages: Embeddings, k: int, config: MineConfig, reporter: Reporter, only: Bools | None, guard: Guard, shard: int
) -> Lists:
    """The best passages of one shard, by their rows in all: no more than it has."""
    device, (first, end) = pick_device(config.device), passages.span(shard)
    memory = bytes_of(config.memory, "memory") if config.memory else None
    if device.type == "cuda":
        some = np.zeros(passages.rows, dtype=np.bool_)
        some[first:end] = True if only is None else only[first:end]
        return top_k_on(device, queries, passages, k, memory=memory, reporter=reporter, only=some)
    part = None if only is None else only[first:end]
    found = top_k(queries, passages, k, config.threads, reporter, only=part, memory=memory, shard=shard, guard=guard)
    found.rows[found.rows != PADDING] += np.uint32(first)
    return found


def _unfinished(queries: Floats, passages: Embeddings, k: int, only: Bools | None) -> Path:
    """The checkpoint of a search, by what is searched for among which vectors, so that each finds its own."""
    found = hashlib.blake2b(f"{queries.shape} {k}".encode(), digest_size=8)
    found.update(np.ascontiguousarray(queries).reshape(-1).data)
    if only is not None:
        found.update(np.packbits(only).data)
    return unfinished_search(passages.folder, found.hexdigest())


def _require_searchable(queries: Floats, passages: Embeddings, k: int) -> None:
    if k < 1:
        raise UsageError(f"k is {k}, expected at least 1", "use --top-k 1 or more")
    if k > passages.rows:
        raise InputError(f"top-k is {k}, but there are only {passages.rows} passages", f"use --top-k {passages.rows} or less")
    if queries.ndim != 2 or queries.shape[1] != passages.dimensions:
        what = f"queries of shape {queries.shape}, passages of {passages.dimensions} dimensions: expected the same"
        raise UsageError(what, "encode both with one encoder")
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise ScoreError(f"query row {bad[0]} is not finite", "encode the queries again, in bf16 or fp32")
