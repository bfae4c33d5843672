"""The pairs of a round that have a score: every query with its candidates, by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING, Candidates, distinct_passages
from umr.data.scores import ScoreStore, merge_stores
from umr.data.workspace import Workspace
from umr.progress import Reporter

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """All pairs of a round, numbered by query and rank. A padded place has a number too; it is no pair, and is never scored.

    Arguments:
        candidates: whose pairs; of each query the first `kept`, the retriever's best.
        kept: how many candidates of a query are scored.
        query_keys: [Q, 2] content keys of text and language.
        passage_keys: [n, 2] content keys of title and text of the passages that are candidates, each once.
        places: [Q, kept] places in `passage_keys`.
    """

    candidates: Candidates
    kept: int
    query_keys: NDArray[np.uint64]
    passage_keys: NDArray[np.uint64]
    places: NDArray[np.uint32]

    @property
    def rows(self) -> NDArray[np.uint32]:
        """Passage rows [Q * kept], or PADDING."""
        return self.candidates.rows[:, : self.kept].reshape(-1)

    def __len__(self) -> int:
        """Pairs, without the padded places."""
        return int(np.count_nonzero(self.rows != PADDING))

    def queries(self, numbers: Ints) -> Ints:
        """The queries [m] of some pairs."""
        return numbers // self.kept

    def keys(self, numbers: Ints) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Content keys [m, 2] of the queries and the passages of some pairs."""
        return self.query_keys[self.queries(numbers)], self.passage_keys[self.places.reshape(-1)[numbers]]

    def lookup(self, stores: list[ScoreStore], reporter: Reporter | None = None) -> tuple[Floats, list[dict[str, int]]]:
        """The scores [M, Q, k] that each store holds, NaN where there is none or a candidate is not kept, and the stores' counts.

        Arguments:
            stores: M stores.
            reporter: warned of damaged segments.
        """
        scores, counts = merge_stores(stores, self.query_keys, self.passage_keys, self.places, reporter)
        table = np.full((len(stores), *self.candidates.rows.shape), np.nan, dtype=np.float32)
        table[:, :, : self.kept] = scores
        return table, counts

    def missing(self, table: Floats) -> Ints:
        """Numbers of the pairs without a score; of pairs with the same content only the first.

        Arguments:
            table: [Q, k] float32, NaN where there is none.
        """
        missing = np.flatnonzero(np.isnan(table[:, : self.kept].reshape(-1)) & (self.rows != PADDING))
        _, first = np.unique(np.concatenate(self.keys(missing), axis=1), axis=0, return_index=True)  # of [m, 4]
        return missing[np.sort(first)]

    def names(self, workspace: Workspace, number: int) -> tuple[str, str]:
        """The ids of a pair's query and passage."""
        return self.candidates.query_ids[number // self.kept], workspace.passages.ids(self.rows[number : number + 1])[0]


def pairs_of(workspace: Workspace, candidates: Candidates, screen: int | None) -> Pairs:
    """The pairs of a round.

    Arguments:
        workspace: gives the content keys.
        candidates: of the round.
        screen: candidates of a query at most, or None for all.
    """
    k = candidates.rows.shape[1]
    kept = k if screen is None else min(screen, k)
    passages, places = distinct_passages(np.ascontiguousarray(candidates.rows[:, :kept]), len(workspace.passages))
    return Pairs(candidates, kept, workspace.queries.keys(), workspace.passages.keys(passages), places)
