"""Exact top-k search: in Rust over memory-mapped shards (paper, section 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umr.data.embeddings import Embeddings
from umr.errors import InputError
from umr.progress import Reporter, Silent, follow


def top_k(
    queries: NDArray[np.float32], passages: Embeddings, k: int, threads: int = 0, reporter: Reporter | None = None
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The k passages of the largest inner product with each query.

    Arguments:
        queries: [Q, d] float32.
        passages: finished embeddings, n rows.
        k: at most n.
        threads: 0 takes all; the result does not depend on it.
        reporter: shows the progress.

    Returns:
        rows [Q, k] uint32 and scores [Q, k] float32: score down, then row up.

    Raises:
        InputError: k is larger than the corpus.
        ScoreError: a vector is not finite.
    """
    from umr._rust import search

    if k > passages.rows:
        raise InputError(f"top-k is {k}, but there are only {passages.rows} passages", f"use --top-k {passages.rows} or less")
    with follow(reporter or Silent(), "searching", len(queries), "queries") as counter:
        return search(queries, passages.mapped(), passages.dtype, k, threads=threads, counter=counter)
