"""Combined scores one query and one candidate at a time: the slow twin of `umr.label.combine` and `umr.label.language_effect`."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]
Table = Sequence[Row]


def combined(models: Sequence[Table], retrievers: Sequence[Table], fuse: float) -> list[list[float]]:
    """Scores of models (the first one's units), averaged by their z and fused with the retrievers'; NaN where not scored or found."""
    found = []
    for q, scores in enumerate(models[0]):
        kept = [j for j, score in enumerate(scores) if not math.isnan(score)]
        first = [scores[j] for j in kept]
        rows = [first, *([table[q][j] for j in kept] for table in models[1:])]
        z = [math.fsum(values) / len(rows) for values in zip(*(z_scores(row) for row in rows), strict=True)]
        others = [z_scores(_filled([table[q][j] for j in kept])) for table in retrievers]
        other = [math.fsum(values) / len(others) for values in zip(*others, strict=True)]
        mean, deviation = mean_and_deviation(first)
        made = dict(zip(kept, (mean + deviation * (a + fuse * b) / (1 + fuse) for a, b in zip(z, other, strict=True)), strict=True))
        found.append([made.get(j, math.nan) for j in range(len(scores))])
    return found


def _filled(values: Row) -> list[float]:
    """What was not found gets the least value that was; all are equal where nothing was found."""
    least = min((value for value in values if not math.isnan(value)), default=0.0)
    return [least if math.isnan(value) else value for value in values]


def scaled(table: Table, scale: str) -> list[list[float]]:
    """Scores as they are, z-scores of each query, or 0 to 1 between the 1st and 99th percentile of all; NaN where not scored."""
    every = sorted(score for row in table for score in row if not math.isnan(score))
    low, high = (_percentile(every, share) for share in (0.01, 0.99))
    found = []
    for row in table:
        mean, deviation = mean_and_deviation([score for score in row if not math.isnan(score)])
        if scale == "query":
            low, high = mean, mean + deviation
        there = [math.nan if math.isnan(score) else (score - low) / (high - low) if high > low else 0.0 for score in row]
        found.append(list(row) if scale == "none" else there)
    return found


def _percentile(ascending: Row, share: float) -> float:
    at = share * (len(ascending) - 1)
    below = ascending[math.floor(at)]
    return below + (ascending[math.ceil(at)] - below) * (at - math.floor(at))


def mean_and_deviation(values: Row) -> tuple[float, float]:
    """Mean and population deviation."""
    if max(values) == min(values):
        return values[0], 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def z_scores(values: Row) -> list[float]:
    """How many deviations above the mean; 0 where all are equal."""
    mean, deviation = mean_and_deviation(values)
    return [(value - mean) / deviation if deviation else 0.0 for value in values]


def language_effect(
    scores: Table, closeness: Table, query_langs: Sequence[int], passage_langs: Sequence[Sequence[int]], shrink: float
) -> list[list[float]]:
    """The effect of (query's language, passage's language): levels, slopes and effects fitted in turn until nothing moves."""
    pairs = [(q, j) for q, row in enumerate(scores) for j, score in enumerate(row) if not math.isnan(score)]
    effect = {(query_langs[q], lang): 0.0 for q, row in enumerate(passage_langs) for lang in row}
    slope = dict.fromkeys(query_langs, 0.0)
    for _ in range(3000):
        before = [*effect.values(), *slope.values()]
        level = []
        for q in range(len(scores)):
            mine = [j for p, j in pairs if p == q]
            rest = [scores[q][j] - slope[query_langs[q]] * closeness[q][j] - effect[query_langs[q], passage_langs[q][j]] for j in mine]
            level.append(math.fsum(rest) / len(rest))
        for lang in slope:
            mine = [(q, j) for q, j in pairs if query_langs[q] == lang]
            rest = [closeness[q][j] * (scores[q][j] - level[q] - effect[lang, passage_langs[q][j]]) for q, j in mine]
            slope[lang] = math.fsum(rest) / (math.fsum(closeness[q][j] ** 2 for q, j in mine) + shrink)
        for key in effect:
            mine = [(q, j) for q, j in pairs if (query_langs[q], passage_langs[q][j]) == key]
            rest = [scores[q][j] - level[q] - slope[key[0]] * closeness[q][j] for q, j in mine]
            effect[key] = math.fsum(rest) / (len(rest) + shrink)
        if max(abs(a - b) for a, b in zip(before, [*effect.values(), *slope.values()], strict=True)) < 1e-13:
            break
    return [[effect[query_langs[q], lang] for lang in row] for q, row in enumerate(passage_langs)]
