"""Candidates: the passages mined for every query, with the retriever's scores and where they were found; in Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records
from umr.data.table import read_columns, write_blocks
from umr.errors import FormatError, UsageError
from umr.layout import RoundLayout
from umr.manifest import read_manifest, require_whole

PADDING = 2**32 - 1
"""In place of a row where a query has fewer candidates; always at the end of its list, with score -inf."""
QUERIES = 4096  # whose candidates are written at once


@dataclass(frozen=True)
class Provenance:
    """Which sources found each candidate, at what rank and with what score.

    Arguments:
        names: S names of the sources, the retriever's first; lower-case letters and digits.
        ranks: [S, Q, k] uint32 ranks from 1, 0 where the source did not find it.
        scores: [S, Q, k] float32 scores of the source's own kind, NaN where it did not find it.
    """

    names: tuple[str, ...]
    ranks: NDArray[np.uint32]
    scores: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Provenance({', '.join(self.names)})"

    def part(self, some: slice) -> Provenance:
        """That of some queries."""
        return Provenance(self.names, self.ranks[:, some], self.scores[:, some])

    def columns(self) -> dict[str, Any]:
        """`NAME_rank` and `NAME_score` of every source, null where it did not find the candidate."""
        found: dict[str, Any] = {}
        for name, ranks, scores in zip(self.names, self.ranks, self.scores, strict=True):
            absent = ranks.reshape(-1) == 0
            found[f"{name}_rank"] = np.ma.MaskedArray(ranks.reshape(-1), absent)
            found[f"{name}_score"] = np.ma.MaskedArray(scores.reshape(-1), absent)
        return found


@dataclass(frozen=True)
class Candidates:
    """The k best passages of every query, best first.

    Arguments:
        query_ids: Q ids.
        langs: Q language codes.
        rows: [Q, k] uint32 rows of the corpus; PADDING at the end where a query has fewer.
        scores: [Q, k] float32 inner products or cosines; -inf where padded.
        provenance: where they were found; None where that is the retriever alone.
    """

    query_ids: list[str]
    langs: list[str]
    rows: NDArray[np.uint32]
    scores: NDArray[np.float32]
    provenance: Provenance | None = None

    def __repr__(self) -> str:
        size = f"{self.rows.shape[1]}" if self.present.all() else f"up to {self.rows.shape[1]}"
        found = f", found by {', '.join(self.provenance.names)}" if self.provenance else ""
        return f"Candidates({len(self.query_ids):,} queries in {len(set(self.langs))} languages x {size} passages{found})"

    @property
    def present(self) -> NDArray[np.bool_]:
        """[Q, k] where there is a candidate."""
        there: NDArray[np.bool_] = self.rows != PADDING
        return there

    def write(self, path: Path, passages: Records) -> None:
        """Write one Parquet row a place, in order of query and rank; a row group for some thousand queries."""
        found = (part.columns(passages) | (part.provenance.columns() if part.provenance else {}) for _, part in self.parts())
        write_blocks(path, found)

    def parts(self) -> Iterator[tuple[slice, Candidates]]:
        """Some thousand queries after the other, and their candidates; at least one part."""
        for start in range(0, max(1, len(self.query_ids)), QUERIES):
            some = slice(start, start + QUERIES)
            provenance = self.provenance.part(some) if self.provenance else None
            yield some, Candidates(self.query_ids[some], self.langs[some], self.rows[some], self.scores[some], provenance)

    def columns(self, passages: Records) -> dict[str, Any]:
        """The columns that candidates and labels share, a row a place; no passage has an id where the place is padded."""
        flat, present = self.rows.reshape(-1), self.present.reshape(-1)
        ids = np.full(len(flat), None, dtype=object)
        ids[present] = passages.ids(flat[present])
        queries, k = self.rows.shape
        repeat = np.repeat(np.arange(queries), k)
        return {
            "query_id": np.array(self.query_ids, dtype=object)[repeat],
            "lang": np.array(self.langs, dtype=object)[repeat],
            "rank": np.tile(np.arange(1, k + 1, dtype=np.uint32), queries),
            "passage_id": ids,
            "passage_row": flat,
            "retriever_score": self.scores.reshape(-1),
        }

    def run(self, passages: Records) -> dict[str, list[tuple[str, float]]]:
        """The candidates as a run: query id -> [(passage id, score)], best first."""
        ids = np.array(passages.ids(self.rows[self.present]), dtype=object)
        ends = np.cumsum(self.present.sum(axis=1))[:-1]
        parts = zip(self.query_ids, np.split(ids, ends), np.split(self.scores[self.present], ends), strict=True)
        return {q: list(zip(p, s.tolist(), strict=True)) for q, p, s in parts}


def read_candidates(path: Path) -> Candidates:
    """Read candidates.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a Parquet file with whole queries, or a padded place stands before a candidate.
    """
    table = read_columns(path, ("rank", "passage_row", "retriever_score"))
    k = int(table["rank"].max()) if len(table["rank"]) else 0
    if not k or len(table["rank"]) % k or not (table["rank"].reshape(-1, k) == np.arange(1, k + 1)).all():
        raise FormatError(f"{path}: its rows are not k candidates a query", "run `umr mine` again with --force")
    names = read_columns(path, ("query_id", "lang"), every=k)
    found = Candidates(
        [str(q) for q in names["query_id"]],
        [str(lang) for lang in names["lang"]],
        table["passage_row"].astype(np.uint32).reshape(-1, k),
        table["retriever_score"].astype(np.float32).reshape(-1, k),
        _provenance(path, k),
    )
    bad = (found.present != ~np.isneginf(found.scores)) | (found.present & (np.cumsum(~found.present, axis=1) > 0))
    if bad.any():
        query = found.query_ids[int(np.argmax(bad.any(axis=1)))]
        raise FormatError(f"{path}: the padding of query {query!r} is not at its end, with score -inf", "run `umr mine` again with --force")
    return found


def _provenance(path: Path, k: int) -> Provenance | None:
    from pyarrow import parquet

    fields = parquet.read_schema(path).names
    names = tuple(f.removesuffix("_rank") for f in fields if f.endswith("_rank") and f.removesuffix("rank") + "score" in fields)
    if not names:
        return None
    table = read_columns(path, [f"{name}_{what}" for name in names for what in ("rank", "score")])
    ranks = np.stack([np.nan_to_num(table[f"{name}_rank"].astype(np.float64)).astype(np.uint32).reshape(-1, k) for name in names])
    scores = np.stack([table[f"{name}_score"].astype(np.float32).reshape(-1, k) for name in names])
    return Provenance(names, ranks, scores)


def candidates_of(place: RoundLayout) -> Candidates:
    """The candidates of a mined round.

    Raises:
        MismatchError: the file is not the one that was mined.
        FormatError: it is damaged.
    """
    require_whole(place.mined, read_manifest(place.mined, "mine"), "mine the round again with --force")
    return read_candidates(place.candidates)


def distinct_passages(rows: NDArray[np.uint32], count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The passages that are candidates of anything, so that each is read and hashed once.

    Arguments:
        rows: [Q, k] rows of the corpus; `PADDING` where a query has fewer candidates.
        count: passages of the corpus.

    Returns:
        [n] uint32 rows of the corpus, ascending and all different, and [Q, k] uint32 the place of each candidate among
        them, `PADDING` kept.

    Raises:
        UsageError: a row is not of the corpus.
    """
    if ((rows >= count) & (rows != PADDING)).any():
        raise UsageError(f"row {rows[(rows >= count) & (rows != PADDING)][0]} of {count} passages")
    place = np.zeros(count + 1, dtype=np.uint32)  # the last entry stands for no passage
    flat = np.minimum(rows, count)
    place[flat] = 1
    passages = np.flatnonzero(place[:count]).astype(np.uint32)
    place[passages] = np.arange(len(passages), dtype=np.uint32)
    place[count] = PADDING
    return passages, place[flat]
