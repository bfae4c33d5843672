"""Merging as the rule says it, one record after another into a dict: the slow twin of `umr._rust.merge_stores`."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

Key = tuple[int, int]
HEADER, RECORD = 32, 40


def merge(
    store: Sequence[str], query_keys: Sequence[Key], passage_keys: Sequence[Key], rows: Sequence[Sequence[int]]
) -> tuple[list[list[float]], dict[str, int]]:
    """One store: scores [Q][k] (NaN for none) and the counts."""
    first: dict[tuple[Key, Key], float] = {}
    counts = {"records": 0, "torn": 0, "duplicates": 0, "conflicts": 0}
    wanted = [(query, {passage_keys[row] for row in own if row < len(passage_keys)}) for query, own in zip(query_keys, rows, strict=True)]
    counts["torn"] = sum(_is_torn(path) for path in store)
    for query, passage, score in (record for path in store for record in _intact(path)):
        counts["records"] += 1
        if not math.isfinite(score):
            continue
        known = first.setdefault((query, passage), math.nan)
        if math.isnan(known):
            first[query, passage] = score
        else:
            counts["duplicates" if known == score else "conflicts"] += sum(query == q and passage in p for q, p in wanted)
    scores = [
        [first.get((query, passage_keys[row]), math.nan) if row < len(passage_keys) else math.nan for row in own]
        for query, own in zip(query_keys, rows, strict=True)
    ]
    return scores, counts


def _intact(path: str) -> Iterator[tuple[Key, Key, float]]:
    content = Path(path).read_bytes()
    for start in range(HEADER, len(content) - RECORD + 1, RECORD):
        q0, q1, p0, p1, score, check = struct.unpack("<4QfI", content[start : start + RECORD])
        if zlib.crc32(content[start : start + RECORD - 4]) != check:
            continue
        yield (q0, q1), (p0, p1), score


def _is_torn(path: str) -> bool:
    size = Path(path).stat().st_size
    return size < HEADER or (size - HEADER) % RECORD != 0
