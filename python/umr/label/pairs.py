"""The pairs of a round that have a score: every query with its candidates, and with the empty passage where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.config import LabelConfig
from umr.data.candidates import PADDING, Candidates, distinct_passages
from umr.data.scores import ScoreStore, merge_stores
from umr.data.workspace import Workspace

EMPTY = -1  # in place of a passage row
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """All pairs of a round by number: in order of query and rank, then every query with the empty passage.

    A padded place has a number too, so that a number tells query and rank; it is no pair, and is never scored.

    Arguments:
        candidates: whose pairs.
        kept: candidates a query that are scored, the retriever's best.
        queries: [P] query rows.
        rows: [P] passage rows, EMPTY, or PADDING.
        query_keys: [Q, 2] content keys of text and language.
        passage_keys: [n, 2] content keys of title and text of the passages that are candidates, each once, and last, where it is
            asked for, of the empty one.
        places: [Q, kept] or, with the empty passage, [Q, kept + 1] places in `passage_keys`.
    """

    candidates: Candidates
    kept: int
    queries: NDArray[np.int64]
    rows: NDArray[np.int64]
    query_keys: NDArray[np.uint64]
    passage_keys: NDArray[np.uint64]
    places: NDArray[np.uint32]

    def __len__(self) -> int:
        """Pairs, without the padded places."""
        return int(np.count_nonzero(self.rows != PADDING))

    @property
    def scored(self) -> int:
        """Pairs of a query and a candidate."""
        return int(np.count_nonzero(self.candidates.present[:, : self.kept]))

    def table(self, scores: Floats) -> Floats:
        """Scores [P] of the pairs as a table [Q, k], NaN where a candidate is not scored."""
        count, k = self.candidates.rows.shape
        table = np.full((count, k), np.nan, dtype=np.float32)
        table[:, : self.kept] = scores[: count * self.kept].reshape(count, self.kept)
        return table

    def prior(self, scores: Floats) -> Floats | None:
        """Scores [Q] of the queries under the empty passage, out of those of all pairs [P]; None where they are not asked for."""
        done = len(self.candidates.rows) * self.kept
        return scores[done:] if len(scores) > done else None

    def keys(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Content keys [m, 2] of the queries and the passages of some pairs."""
        return self.query_keys[self.queries[numbers]], self.passage_keys[self._flat(self.places)[numbers]]

    def lookup(self, store: ScoreStore) -> tuple[Floats, dict[str, int]]:
        """The scores [P] that a store holds, NaN where there is none, and its counts."""
        scores, counts = merge_stores([store], self.query_keys, self.passage_keys, self.places)
        return self._flat(scores[0]), counts[0]

    def _flat(self, table: NDArray[Any]) -> NDArray[Any]:
        """A table like `places` by number of the pair: [P]."""
        return np.concatenate([table[:, : self.kept].reshape(-1), table[:, self.kept :].reshape(-1)])

    def missing(self, scores: Floats) -> NDArray[np.int64]:
        """Numbers of the pairs without a score; of pairs with the same content only the first.

        Arguments:
            scores: [P] float32, NaN where there is none.
        """
        missing = np.flatnonzero(np.isnan(scores) & (self.rows != PADDING))
        _, first = np.unique(np.concatenate(self.keys(missing), axis=1), axis=0, return_index=True)  # of [m, 4]
        return missing[np.sort(first)]

    def names(self, workspace: Workspace, number: int) -> tuple[str, str]:
        """The ids of a pair's query and passage."""
        row = int(self.rows[number])
        passage = "(empty)" if row == EMPTY else workspace.passages.ids(np.array([row], dtype=np.uint32))[0]
        return self.candidates.query_ids[int(self.queries[number])], passage


def pairs_of(workspace: Workspace, candidates: Candidates, config: LabelConfig) -> Pairs:
    """The pairs that a configuration scores.

    Arguments:
        workspace: gives the content keys.
        candidates: of the round.
        config: `screen` and `correct` decide.
    """
    count, k = candidates.rows.shape
    kept = k if config.screen is None else min(config.screen, k)
    some = np.ascontiguousarray(candidates.rows[:, :kept])
    passages, places = distinct_passages(some, len(workspace.passages))
    queries, rows, keys = (
        np.repeat(np.arange(count, dtype=np.int64), kept),
        some.reshape(-1).astype(np.int64),
        workspace.passages.keys(passages),
    )
    if config.correct == "empty":
        queries, rows = np.concatenate([queries, np.arange(count)]), np.concatenate([rows, np.full(count, EMPTY)])
        places = np.concatenate([places, np.full((count, 1), len(keys), dtype=np.uint32)], axis=1)
        keys = np.concatenate([keys, empty_key()[None]])
    return Pairs(candidates, kept, queries, rows, workspace.queries.keys(), keys, places)


def empty_key() -> NDArray[np.uint64]:
    """The content key [2] of a passage without title and text, as the compiled core makes it."""
    from umr._rust import fingerprint

    digest = bytes.fromhex(fingerprint("\x1f"))
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
