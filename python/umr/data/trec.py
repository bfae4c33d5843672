"""TREC runs in and out: `query Q0 passage rank score tag`, a line each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records
from umr.data.candidates import PADDING, Candidates
from umr.errors import FormatError, InputError
from umr.progress import Reporter
from umr.storage import beside, read_lines

FORM = "expected six columns apart by white space: query, Q0, passage, rank, score, tag"
BLOCK = 65536  # lines whose ids are looked up at once
DEPTH = 1000  # passages of a list that are kept


def read_run(
    path: Path | str, queries: Records, passages: Records, reporter: Reporter, depth: int = DEPTH
) -> tuple[NDArray[np.uint32], NDArray[np.float32], dict[str, int]]:
    """Read a run, plain or gzip-compressed (by content, not by name), as lists of a collection's rows.

    Scores decide the order; equal ones stand by rank, then by line. Every list takes the room of the longest, so that lists are
    cut at a depth.

    Arguments:
        path: the file, UTF-8.
        queries, passages: the collections that the ids are of.
        reporter: told what was left out.
        depth: passages of a list that are kept.

    Returns:
        [Q, w] passage rows, best first, PADDING at the end of shorter lists; [Q, w] scores, never rising, -inf where padded; and
        counts: `lines` that count, and of those left out `unknown_queries` and `unknown_passages` (lines whose query, or else
        whose passage, is not of the collections), `cut` lines behind the depth, and `missing` queries without any.

    Raises:
        InputError: the file is missing, or no line is of these collections.
        FormatError: not six columns, a rank that is no integer, a score that is not finite, a passage twice for one query,
            not UTF-8, a torn gzip stream; names the line.
    """
    path = Path(path)
    lines = (_line(path, line, text) for line, text in read_lines(path))
    blocks = [_look_up(block, queries, passages) for block in iter(lambda: list(islice(lines, BLOCK)), [])]
    if not blocks:
        raise InputError(f"{path}: no line in the run", FORM)
    table = np.concatenate(blocks)
    unknown = {
        "unknown_queries": int((table["query"] < 0).sum()),
        "unknown_passages": int(((table["query"] >= 0) & (table["passage"] < 0)).sum()),
    }
    table = table[(table["query"] >= 0) & (table["passage"] >= 0)]
    if not len(table):
        raise InputError(f"{path}: no line has a query and a passage of the work folder", "the ids must be those of the collections")
    _refuse_twice(path, table, queries, passages)
    rows, scores, kept = _lists(table, len(queries), depth)
    counts = {"lines": kept, **unknown, "cut": len(table) - kept, "missing": int((rows[:, 0] == PADDING).sum())}
    if any(list(counts.values())[1:]):
        cut = f", {counts['cut']:,} behind the first {depth:,} of a list" if counts["cut"] else ""
        reporter.say(
            f"{path}: {counts['lines']:,} lines; left out {counts['unknown_queries']:,} of unknown queries and "
            f"{counts['unknown_passages']:,} of unknown passages{cut}; {counts['missing']:,} queries have none"
        )
    return rows, scores, counts


def read_rankings(path: Path | str) -> dict[str, list[tuple[str, float]]]:
    """Read a run of any collection, plain or gzip-compressed, by its own ids.

    Returns:
        query id -> passages with their scores, in the order of the lines; ranks are not read, as trec_eval does not.

    Raises:
        InputError, FormatError: as `read_run`.
    """
    path, found = Path(path), dict[str, dict[str, tuple[float, int]]]()
    for line, text in read_lines(path):
        query, _, passage, _, score, _ = _fields(path, line, text)
        own = found.setdefault(query, {})
        if passage in own:
            what = f"{path}:{line}: query {query!r} has passage {passage!r} a second time, first on line {own[passage][1]}"
            raise FormatError(what, "keep one line a pair")
        own[passage] = _score(path, line, score), line
    if not found:
        raise InputError(f"{path}: no line in the run", FORM)
    return {query: [(passage, score) for passage, (score, _) in own.items()] for query, own in found.items()}


def write_run(path: Path | str, candidates: Candidates, passages: Records, tag: str = "umr") -> None:
    """Write candidates as a run, whole or not at all; ranks count from 1, scores are written so that they are read back the same.

    Arguments:
        path: where it goes.
        candidates: of every query; padded places are left out.
        passages: the corpus.
        tag: the last column.

    Raises:
        FormatError: an id holds white space, which this form cannot hold.
    """
    with beside(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        for query, ranking in (pair for _, part in candidates.parts() for pair in part.run(passages).items()):
            for rank, (passage, score) in enumerate(ranking, start=1):
                handle.write(run_line(query, passage, rank, str(np.float32(score)), tag) + "\n")


def run_line(query: str, passage: str, rank: int, score: str, tag: str = "umr") -> str:
    """A line of a run.

    Raises:
        FormatError: an id holds white space, which this form cannot hold.
    """
    for name in (query, passage, tag):
        if len(name.split()) != 1:
            raise FormatError(f"{name!r} holds white space, which a TREC run cannot hold", "take ids without white space")
    return f"{query} Q0 {passage} {rank} {score} {tag}"


Number = TypeVar("Number", int, float)
Line = tuple[int, str, str, int, float]  # line, query, passage, rank, score
KIND = np.dtype([("line", "<i8"), ("query", "<i8"), ("passage", "<i8"), ("rank", "<i8"), ("score", "<f4")])


def _fields(path: Path, line: int, text: str) -> list[str]:
    fields = text.split()
    if len(fields) != 6:
        raise FormatError(f"{path}:{line}: {len(fields)} columns", FORM)
    return fields


def _score(path: Path, line: int, field: str) -> float:
    score = _number(float, field, f"{path}:{line}: the score {field!r} is not a number")
    if not math.isfinite(score) or abs(score) > float(np.finfo(np.float32).max):
        raise FormatError(f"{path}:{line}: the score {field} is not finite", "leave out what has no score")
    return score


def _line(path: Path, line: int, text: str) -> Line:
    fields = _fields(path, line, text)
    rank = _number(int, fields[3], f"{path}:{line}: the rank {fields[3]!r} is not an integer")
    score = _score(path, line, fields[4])
    if abs(rank) >= 2**63:
        raise FormatError(f"{path}:{line}: the rank {rank} is beyond 64 bits", FORM)
    return line, fields[0], fields[2], rank, score


def _number(kind: type[Number], text: str, message: str) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise FormatError(message, FORM) from None


def _look_up(block: Sequence[Line], queries: Records, passages: Records) -> NDArray[Any]:
    lines, query_ids, passage_ids, ranks, scores = zip(*block, strict=True)
    table = np.empty(len(block), dtype=KIND)
    table["line"], table["rank"], table["score"] = lines, ranks, scores
    table["query"], table["passage"] = queries.find(list(query_ids)), passages.find(list(passage_ids))
    return table


def _refuse_twice(path: Path, table: NDArray[Any], queries: Records, passages: Records) -> None:
    order = np.lexsort((table["line"], table["passage"], table["query"]))
    same = (np.diff(table["query"][order]) == 0) & (np.diff(table["passage"][order]) == 0)
    if same.any():
        before, row = table[order[int(np.argmax(same))]], table[order[int(np.argmax(same)) + 1]]
        query, passage = (r.ids(np.array([row[n]], dtype=np.uint32))[0] for r, n in ((queries, "query"), (passages, "passage")))
        raise FormatError(
            f"{path}:{row['line']}: query {query!r} has passage {passage!r} a second time, first on line {before['line']}",
            "keep one line a pair",
        )


def _lists(table: NDArray[Any], count: int, depth: int) -> tuple[NDArray[np.uint32], NDArray[np.float32], int]:
    """Rows and scores [count, w], w at most `depth`, and the lines in them."""
    ordered = table[np.lexsort((table["line"], table["rank"], -table["score"], table["query"]))]
    sizes = np.bincount(ordered["query"], minlength=count)
    places = np.arange(len(ordered)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    ordered, places = ordered[places < depth], places[places < depth]
    rows = np.full((count, min(int(sizes.max()), depth)), PADDING, dtype=np.uint32)
    scores = np.full(rows.shape, -np.inf, dtype=np.float32)
    rows[ordered["query"], places], scores[ordered["query"], places] = ordered["passage"], ordered["score"]
    return rows, scores, len(ordered)
