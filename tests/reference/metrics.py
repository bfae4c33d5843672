"""Metrics written straight from their definitions, one query at a time: the slow twin of `umr.evaluate.metrics`."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence


def order(ranking: Sequence[tuple[str, float]]) -> list[str]:
    """Passage ids as trec_eval orders them: by score as float32, down; equal ones by id, down."""
    return [passage for _, passage in sorted(((struct.unpack("f", struct.pack("f", s))[0], p) for p, s in ranking), reverse=True)]


def metric(name: str, ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """Value of one metric for one ranking of passage ids, best first."""
    family, _, cut = name.partition("@")
    first = list(ranking) if not cut else list(ranking)[: int(cut)]
    relevant = {passage for passage, grade in grades.items() if grade >= 1}
    hits = [rank for rank, passage in enumerate(first, start=1) if passage in relevant]
    if family == "Success":
        return 1.0 if hits else 0.0
    if family == "P":
        return len(hits) / int(cut)
    if not relevant:
        return 0.0
    if family == "R":
        return len(hits) / len(relevant)
    if family == "MRR":
        return 1.0 / hits[0] if hits else 0.0
    if family == "mAP":
        return sum(number / rank for number, rank in enumerate(hits, start=1)) / len(relevant)
    if family == "nDCG":
        ideal = sorted((grades[passage] for passage in relevant), reverse=True)
        return _gain([grades.get(passage, 0) for passage in first]) / _gain(ideal[: int(cut)] if cut else ideal)
    raise AssertionError(name)


def _gain(grades: Sequence[int]) -> float:
    return sum(max(0, grade) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
