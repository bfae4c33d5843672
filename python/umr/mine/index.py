"""One way to the candidates: exact on the processor, exact on a GPU, or approximate, as the configuration says."""

from __future__ import annotations

import hashlib

import numpy as np

from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.layout import unfinished_search
from umr.mine.lists import Bools, Floats, Rows
from umr.progress import Reporter, Silent
from umr.sizes import bytes_of

Found = tuple[Rows, Floats]
"""Rows [Q, k] and scores [Q, k]."""


def find(
    queries: Floats,
    passages: Embeddings,
    k: int,
    config: MineConfig,
    reporter: Reporter | None = None,
    only: Bools | None = None,
) -> Found:
    """The k passages of the largest inner product with each query, by the index that `config` names.

    Where only some passages count, the search is exact whatever the index: the neighbours of a question in a graph over all
    passages may hold none of them.

    Arguments:
        queries: [Q, d] float32.
        passages: finished embeddings, n rows.
        k: at most n.
        config: `index`, `device`, `threads` and `memory` count.
        reporter: shows the progress, and the recall where the answer is approximate.
        only: [n] which passages count. (default: all)

    Returns:
        rows [Q, k] uint32 and scores [Q, k] float32: score down, then row up; a list that `only` leaves shorter than k ends
        with row 2**32 - 1 and score -inf.

    Raises:
        InputError: k is larger than the corpus.
        MismatchError: the index on disk is that of other embeddings.
        ScoreError: a vector is not finite.
    """
    reporter = reporter or Silent()
    if config.index == "exact" or only is not None:
        return exactly(queries, passages, k, config, reporter, only)
    from umr.mine.approximate import near_top_k

    def truth(sample: Floats, wanted: int) -> Found:
        return exactly(sample, passages, wanted, config, reporter)

    return near_top_k(queries, passages, k, truth, config.threads, reporter)


def exactly(
    queries: Floats,
    passages: Embeddings,
    k: int,
    config: MineConfig,
    reporter: Reporter | None = None,
    only: Bools | None = None,
) -> Found:
    """What `find` gives with the exact index: on a GPU where `config.device` is one, else in Rust; the bytes are the same."""
    from umr.mine.search import top_k
    from umr.models.device import pick_device

    reporter = reporter or Silent()
    device = pick_device(config.device)
    memory = bytes_of(config.memory, "memory") if config.memory else None
    if device.type != "cuda":
        # One query is over sooner than a file is worth, and many may be asked at once.
        checkpoint = unfinished_search(passages.folder, _digest(queries, k, only)) if len(queries) > 1 else None
        return top_k(queries, passages, k, config.threads, reporter, only=only, memory=memory, checkpoint=checkpoint)
    from umr.mine.accelerator import top_k_on

    return top_k_on(device, queries, passages, k, memory=memory, reporter=reporter, only=only)


def _digest(queries: Floats, k: int, only: Bools | None) -> str:
    """What tells a search among some vectors from the others, so that each finds its own unfinished work."""
    found = hashlib.blake2b(f"{queries.shape} {k}".encode(), digest_size=8)
    found.update(np.ascontiguousarray(queries).reshape(-1).data)
    if only is not None:
        found.update(np.packbits(only).data)
    return found.hexdigest()
