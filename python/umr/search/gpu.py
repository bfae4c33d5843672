"""Exact top-k on a GPU through torch: half precision screens with a proven bound, what survives is scored exactly.

Passages come in chunks; the next one is read while the present one is searched. Rows and scores are those of
`umr.search.exact.top_k`, bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from umr.data.embeddings import Embeddings
from umr.errors import UsageError
from umr.models.feeding import send
from umr.progress import Reporter, Silent
from umr.search.bounds import MOST_DIMENSIONS, HalfPrecisionQueries, exponent, float32_sums, half_precision
from umr.search.lists import Bools, Floats, Lists, Rows, no_lists
from umr.search.reader import Reader, not_finite
from umr.search.scoring import Best, pair_scores, require_scores

FREE_SHARE = 0.5  # of a GPU's free memory, where no amount is said
CPU_BYTES = 1 << 30  # of memory, where the device is the processor
CHUNK_PASSAGES = 131_072  # at most in a chunk


@dataclass(frozen=True)
class Sizes:
    """What fits: a quarter of the memory each for queries with their lists, a chunk, a tile, and exact scores.

    Arguments:
        queries: queries that stay on the device.
        chunk: passages there at a time.
        tile: queries screened against a chunk at a time: their bounds, and what bringing their lists up to date takes.
        pairs: survivors scored at a time.
    """

    queries: int
    chunk: int
    tile: int
    pairs: int


def sizes_for(memory: int, dimensions: int, k: int) -> Sizes:
    """How much is done at a time within `memory` bytes."""
    quarter = memory // 4
    chunk = int(np.clip(quarter // (24 * dimensions), 1, CHUNK_PASSAGES))
    return Sizes(
        queries=max(1, quarter // (8 * dimensions + 8 * k + 64)),
        chunk=chunk,
        tile=max(1, quarter // (16 * chunk + 80 * k)),
        pairs=max(1, quarter // (8 * dimensions + 512)),
    )


@torch.inference_mode()
def top_k_on(
    device: torch.device,
    queries: Floats,
    passages: Embeddings,
    k: int,
    *,
    memory: int | None = None,
    reporter: Reporter | None = None,
    only: Bools | None = None,
) -> Lists:
    """The k passages of the largest inner product with each query.

    Arguments:
        device: where to search.
        queries: [Q, d] float32.
        passages: finished embeddings, n rows.
        k: at most n.
        memory: bytes on the device, at most half of what is free on a GPU. (default: that)
        reporter: shows the progress.
        only: [n] which passages count. (default: all)

    Returns:
        lists [Q, k]: score down, then row up; shorter where `only` leaves fewer passages than k.

    Raises:
        ScoreError: a passage is not finite, or a score is beyond float32.
        UsageError: vectors have more than 65,536 dimensions.
    """
    if not 0 < passages.dimensions <= MOST_DIMENSIONS:
        what = f"passages of {passages.dimensions} dimensions, expected 1 to {MOST_DIMENSIONS}"
        raise UsageError(what, "search on the processor: --device cpu")
    free = int(torch.cuda.mem_get_info(device)[0] * FREE_SHARE) if device.type == "cuda" else CPU_BYTES
    sizes = sizes_for(min(memory or free, free), passages.dimensions, k)
    rows = np.arange(passages.rows, dtype=np.uint32) if only is None else np.flatnonzero(only).astype(np.uint32)
    found = no_lists(len(queries), k)
    reader = Reader(passages, device)
    centre = _centre(reader, rows)
    passes = range(0, len(queries), sizes.queries)
    reporter = reporter or Silent()
    with float32_sums(), reporter.bar(f"searching on {device}", len(passes) * len(rows), "passages") as bar:
        for first in passes:
            search = _Search(HalfPrecisionQueries(queries[first : first + sizes.queries], centre, device), k, sizes, first)
            for chunk, vectors in reader.chunks(rows, sizes.chunk):
                search.feed(send(chunk.astype(np.int64), device), send(vectors, device).float(), centre)
                bar.advance(len(chunk))
            for whole, part in zip(found, search.best.lists(), strict=True):
                whole[first : first + sizes.queries] = part
    return found


def _centre(reader: Reader, rows: Rows) -> Floats:
    """The mean [d] of some of the rows; any vector would do, this one makes the bounds tight."""
    mean = reader.sample(rows).mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(reader.passages.dimensions)
    return np.where(np.isfinite(mean), mean, 0).astype(np.float32)


class _Search:
    """The queries of one pass, their bounds and their lists.

    Arguments:
        queries: Q queries on the device.
        k: length of a list.
        sizes: how much is done at a time.
        first: number of the first query among all, for messages.
    """

    def __init__(self, queries: HalfPrecisionQueries, k: int, sizes: Sizes, first: int) -> None:
        self.queries, self.k, self.sizes, self.first = queries, k, sizes, first
        self.best = Best(len(queries.exact), k, queries.exact.device)
        self.kth_scores = self.best.kth_scores()

    def feed(self, rows: Tensor, vectors: Tensor, centre: Floats) -> None:
        """Search one chunk: rows [m] int64 ascending, vectors [m, d] float32, both on the device."""
        bad = torch.nonzero(~torch.isfinite(vectors).all(dim=1))
        if len(bad):
            raise not_finite(int(rows[bad[0, 0]]))
        power = exponent(max(float(vectors.abs().max()), float(np.abs(centre).max())))
        shifted = vectors * 2.0**-power - torch.from_numpy(centre).to(vectors.device) * 2.0**-power
        screened = half_precision(shifted)
        for start in range(0, len(self.queries.exact), self.sizes.tile):
            span = slice(start, min(start + self.sizes.tile, len(self.queries.exact)))
            upper = self.queries.upper_bounds(span, screened)
            survivors = upper >= self.queries.thresholds(span, self.kth_scores[span], power)[:, None]
            if len(rows) >= self.k and int(survivors.sum()) > 2 * self.k * len(survivors):
                reached = self.queries.lower_bound(span, upper, screened, self.k, power)
                self.kth_scores[span] = torch.maximum(self.kth_scores[span], reached)
                survivors = upper >= self.queries.thresholds(span, self.kth_scores[span], power)[:, None]
            del upper
            self._score(span, survivors, rows, vectors)

    def _score(self, span: slice, survivors: Tensor, rows: Tensor, vectors: Tensor) -> None:
        """Score what survived, as many pairs at a time as fit; nothing is dropped however many there are."""
        totals = np.cumsum(survivors.sum(dim=1).cpu().numpy())
        start = 0
        while start < len(totals):
            before = totals[start - 1] if start else 0
            end = max(start + 1, int(np.searchsorted(totals, before + self.sizes.pairs, side="right")))
            for pairs in torch.split(torch.nonzero(survivors[start:end]), self.sizes.pairs):
                places, columns = pairs[:, 0] + (span.start + start), pairs[:, 1]
                scores = pair_scores(self.queries.exact[places], vectors[columns])
                require_scores(scores, places, rows[columns], self.first)
                self.best.add(places, rows[columns], scores)
            start = end
        self.kth_scores[span] = torch.maximum(self.kth_scores[span], self.best.kth_scores()[span])
