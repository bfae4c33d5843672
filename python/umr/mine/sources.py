"""Where candidates come from: encoders and TREC runs (and BM25, which has a file of its own)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from umr.config import MineConfig
from umr.data.candidates import PADDING
from umr.data.embeddings import Embeddings
from umr.data.trec import TrecRun, no_run
from umr.mine.index import find
from umr.mine.lists import Bools, Floats, Ints, Lists, Rows, no_lists, places_of
from umr.progress import Reporter

PAIRS = 65536  # whose vectors are read at once


class Source(Protocol):
    """Finds passages for queries."""

    @property
    def name(self) -> str:
        """Of the columns: lower-case letters and digits."""

    def find(self, queries: Ints, depth: int) -> Lists:
        """The best passages.

        Arguments:
            queries: [q] query rows.
            depth: so many of them, at most; lists of a larger depth begin with those of a smaller one.

        Returns:
            lists [q, depth].
        """

    def close(self) -> None:
        """Free what finding needs: nothing is searched any more."""


@dataclass(frozen=True)
class EncoderSource:
    """The passages of the largest inner product.

    Arguments:
        name: see `Source`.
        queries: [Q, d] float32 vectors.
        passages: vectors of the whole corpus.
        config: how they are searched.
        reporter: shows the progress.
    """

    name: str
    queries: Floats
    passages: Embeddings
    config: MineConfig
    reporter: Reporter

    def find(self, queries: Ints, depth: int) -> Lists:
        """See `Source`; every list is full, for `depth` is at most the corpus."""
        return Lists(*find(self._vectors(queries), self.passages, depth, self.config, self.reporter))

    def find_among(self, queries: Ints, depth: int, only: Bools) -> Lists:
        """The same among some passages: lists are shorter where those are fewer.

        Arguments:
            queries, depth: see `find`.
            only: [n] which passages.
        """
        return Lists(*find(self._vectors(queries), self.passages, depth, self.config, self.reporter, only))

    def close(self) -> None:
        """See `Source`; vectors are asked for until the end."""

    def _vectors(self, queries: Ints) -> Floats:
        """Those of all queries as they are, not copied."""
        return self.queries if np.array_equal(queries, np.arange(len(self.queries))) else self.queries[queries]

    def scores(self, queries: Ints, rows: Rows, known: Lists) -> Floats:
        """The inner products of passages that may have been found by other sources.

        Arguments:
            queries: [q] query rows.
            rows: [q, w] rows of the corpus, or PADDING.
            known: what this source found for these queries.

        Returns:
            [q, w] float32: sums in f64, rounded once, as the search makes them; -inf where padded.
        """
        places = places_of(known.rows, rows)
        found = np.take_along_axis(known.scores, np.maximum(places, 0), axis=1)
        found[places < 0] = -np.inf
        q, j = np.nonzero((places < 0) & (rows != PADDING))
        order = np.argsort(rows[q, j], kind="stable")  # neighbours on disk are read together
        for start in range(0, len(order), PAIRS):
            some = order[start : start + PAIRS]
            found[q[some], j[some]] = self._products(queries[q[some]], rows[q[some], j[some]])
        return found

    def _products(self, queries: Ints, rows: Rows) -> Floats:
        import torch

        from umr.mine.scoring import pair_scores

        unique, place = np.unique(rows, return_inverse=True)
        vectors = self.passages.read(unique)
        scores: Floats = pair_scores(torch.from_numpy(self.queries[queries]), torch.from_numpy(vectors[place])).numpy()
        return scores


@dataclass
class RunSource:
    """The passages of a TREC run.

    Arguments:
        name: see `Source`.
        run: lists of all queries.
    """

    name: str
    run: TrecRun

    def find(self, queries: Ints, depth: int) -> Lists:
        """See `Source`."""
        found, width = no_lists(len(queries), depth), min(depth, self.run.rows.shape[1])
        found.rows[:, :width] = self.run.rows[queries, :width]
        found.scores[:, :width] = self.run.scores[queries, :width]
        return found

    def close(self) -> None:
        """See `Source`."""
        self.run = no_run(len(self.run.rows))
