"""Statistics of labels straight from their definitions, one query at a time: the slow twin of `umr.label.inspect.statistics`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean, pstdev

Row = Sequence[float]
NAN = float("nan")


def tau_b(a: Row, b: Row) -> float:
    """Kendall's tau-b: (concordant - discordant) / sqrt(pairs not tied in a * pairs not tied in b)."""
    agree = untied_a = untied_b = 0
    for i, j in combinations(range(len(a)), 2):
        x, y = (a[i] > a[j]) - (a[i] < a[j]), (b[i] > b[j]) - (b[i] < b[j])
        agree, untied_a, untied_b = agree + x * y, untied_a + abs(x), untied_b + abs(y)
    return agree / math.sqrt(untied_a * untied_b) if untied_a and untied_b else NAN


def spearman(a: Row, b: Row) -> float:
    """Pearson's correlation of the ranks, ties at their average rank."""
    x, y = _ranks(a), _ranks(b)
    mean_x, mean_y = (fmean(r) if r else NAN for r in (x, y))
    inner = sum((p - mean_x) * (q - mean_y) for p, q in zip(x, y, strict=True))
    norm = math.sqrt(sum((p - mean_x) ** 2 for p in x) * sum((q - mean_y) ** 2 for q in y))
    return inner / norm if norm else NAN


def _ranks(values: Row) -> list[float]:
    places = sorted(values)
    return [fmean(i for i, other in enumerate(places) if other == value) for value in values]


def query(scores: Row, labels: Row, retriever: Row, rows: Sequence[int], lang: str, passage_langs: Mapping[int, str]) -> dict[str, float]:
    """Every statistic of one query; `labels` are log-probabilities; empty where nothing was scored."""
    scored = [i for i in range(len(scores)) if math.isfinite(scores[i]) and math.isfinite(labels[i])]
    if not scored:
        return {}
    total = sum(math.exp(labels[i]) for i in scored)
    p = {i: math.exp(labels[i]) / total for i in scored}
    old, new = scored[0], max(scored, key=lambda i: (labels[i], -i))
    kept, several = [scores[i] for i in scored], len(scored) > 1
    entropy = -sum(v * math.log(v) for v in p.values() if v > 0)
    mine, theirs = [labels[i] for i in scored], [retriever[i] for i in scored]
    here = lang in passage_langs.values()
    return {
        "candidates": len(scored), "score": fmean(kept), "spread": pstdev(kept), "range": max(kept) - min(kept),
        "entropy": entropy, "effective": math.exp(entropy), "effective_share": math.exp(entropy) / len(scored) if several else NAN,
        "top": p[new], "saturated": float(p[new] > 0.99) if several else NAN, "constant": float(min(kept) == max(kept)) if several else NAN,
        "tau": tau_b(mine, theirs), "rho": spearman(mine, theirs), "score_tau": tau_b(kept, theirs),
        "changed": float(old != new), "place": new + 1, "kept": p[old],
        "own_retriever": float(passage_langs[rows[old]] == lang) if here else NAN,
        "own_label": float(passage_langs[rows[new]] == lang) if here else NAN,
    }  # fmt: skip


def mean(queries: Sequence[Mapping[str, float]], name: str) -> float:
    """The mean over the queries that have the value."""
    values = [q[name] for q in queries if q and not math.isnan(q[name])]
    return fmean(values) if values else NAN
