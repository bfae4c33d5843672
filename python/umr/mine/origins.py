"""The passage that each query was made from: the field `source` of its record, a passage id."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from umr.mine.lists import Ints
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr._rust import Records

FIELD = "source"
IDS = ("_id", "id", "docid", "doc_id", "passage_id", "query_id", "qid")
"""Names of a query's id, as the compiled core looks for them, best first."""

BLOCK = 65536  # queries whose ids are looked up at once


def read_origins(paths: Sequence[str], queries: Records, passages: Records, reporter: Reporter) -> tuple[Ints, dict[str, int]]:
    """Read which passage each query was made from.

    The compiled core reads ids, texts and languages; this field is read here, once, from JSONL, and from TSV whose header names
    it.

    Arguments:
        paths: the query files that `queries` was opened from.
        queries, passages: the collections.
        reporter: told how many have none.

    Returns:
        [Q] int64 passage rows, -1 where there is none, and counts: queries `without` the field, and of an `unknown` passage.
    """
    found, named = np.full(len(queries), -1, dtype=np.int64), np.zeros(len(queries), dtype=np.bool_)
    for block in _blocks(pair for path in paths for pair in _pairs(Path(path))):
        rows = queries.find([query for query, _ in block])
        known = rows >= 0
        found[rows[known]] = passages.find([source for _, source in block])[known]
        named[rows[known]] = True
    counts = {"without": int((~named).sum()), "unknown": int((named & (found < 0)).sum())}
    if any(counts.values()):
        reporter.say(
            f"no source passage is left out for {counts['without']:,} queries without the field {FIELD!r} "
            f"and {counts['unknown']:,} that name a passage outside the corpus"
        )
    return found, counts


def _blocks(pairs: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    block: list[tuple[str, str]] = []
    for pair in pairs:
        block.append(pair)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """(query id, passage id) of every record that names both; what is not a record is left to the reader that refuses it."""
    with path.open("rb") as start:
        packed = start.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") if packed else path.open(encoding="utf-8-sig", newline="") as handle:
        yield from _jsonl(handle) if _is_jsonl(path, handle) else _tsv(handle)


def _is_jsonl(path: Path, handle: TextIO) -> bool:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".json", ".ndjson")):
        return True
    if name.endswith((".tsv", ".txt", ".csv")):
        return False
    first = next((line.lstrip()[0] for line in handle if line.strip()), "")
    handle.seek(0)
    return first == "{"


def _jsonl(handle: TextIO) -> Iterator[tuple[str, str]]:
    for line in handle:
        if f'"{FIELD}"' not in line:
            continue
        record = json.loads(line, parse_int=str, parse_float=str)  # numbers as they are written
        query = next((_id(record.get(name)) for name in IDS if record.get(name) is not None), "")
        passage = _id(record.get(FIELD))
        if query and passage:
            yield query, passage


def _id(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tsv(handle: TextIO) -> Iterator[tuple[str, str]]:
    csv.field_size_limit(2**31 - 1)
    records = csv.reader(handle, delimiter="\t")
    header = next(records, [])
    if not header or header[0] not in ("id", "qid", "_id") or FIELD not in header:
        return
    place = header.index(FIELD)
    for record in records:
        if len(record) > place and record[0] and record[place]:
            yield record[0], record[place]
