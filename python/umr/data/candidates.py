"""Candidates: the passages mined for every query, with the retriever's scores; in Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from umr.data.table import read_columns, write_columns
from umr.errors import FormatError
from umr.layout import RoundLayout
from umr.manifest import read_manifest, require_whole

if TYPE_CHECKING:
    from umr._rust import Records


@dataclass(frozen=True)
class Candidates:
    """The k best passages of every query, best first.

    Arguments:
        query_ids: Q ids.
        langs: Q language codes.
        rows: [Q, k] uint32 rows of the corpus.
        scores: [Q, k] float32 inner products or cosines.
    """

    query_ids: list[str]
    langs: list[str]
    rows: NDArray[np.uint32]
    scores: NDArray[np.float32]

    def write(self, path: Path, passages: Records) -> None:
        """Write one Parquet row a (query, passage), in order of query and rank."""
        flat = self.rows.reshape(-1)
        columns = long_columns(self.query_ids, self.langs, self.rows.shape[1])
        write_columns(
            path,
            columns | {"passage_id": passages.ids(flat), "passage_row": flat, "retriever_score": self.scores.reshape(-1)},
        )

    def run(self, passages: Records) -> dict[str, list[tuple[str, float]]]:
        """The candidates as a run: query id -> [(passage id, score)], best first."""
        ids = np.array(passages.ids(self.rows.reshape(-1)), dtype=object).reshape(self.rows.shape)
        return {q: list(zip(p, s.tolist(), strict=True)) for q, p, s in zip(self.query_ids, ids, self.scores, strict=True)}


def long_columns(query_ids: list[str], langs: list[str], k: int) -> dict[str, object]:
    """The columns that candidates and labels share: query id, language and rank (from 1) of every pair."""
    repeat = np.repeat(np.arange(len(query_ids)), k)
    return {
        "query_id": np.array(query_ids, dtype=object)[repeat],
        "lang": np.array(langs, dtype=object)[repeat],
        "rank": np.tile(np.arange(1, k + 1, dtype=np.uint32), len(query_ids)),
    }


def read_candidates(path: Path) -> Candidates:
    """Read candidates.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a Parquet file with whole queries.
    """
    table = read_columns(path, ("query_id", "lang", "rank", "passage_row", "retriever_score"))
    k = int(table["rank"].max()) if len(table["rank"]) else 0
    if not k or len(table["rank"]) % k or not (table["rank"].reshape(-1, k) == np.arange(1, k + 1)).all():
        raise FormatError(f"{path}: its rows are not k candidates a query", "run `umr mine` again with --force")
    return Candidates(
        [str(q) for q in table["query_id"][::k]],
        [str(lang) for lang in table["lang"][::k]],
        table["passage_row"].astype(np.uint32).reshape(-1, k),
        table["retriever_score"].astype(np.float32).reshape(-1, k),
    )


def candidates_of(place: RoundLayout) -> Candidates:
    """The candidates of a mined round.

    Raises:
        MismatchError: the file is not the one that was mined.
        FormatError: it is damaged.
    """
    require_whole(place.mined, read_manifest(place.mined, "mine"), "mine the round again with --force")
    return read_candidates(place.candidates)
