"""Metrics of a run against judgments, computed by `ir_measures` (trec_eval inside), under this project's order.

Names, after Voorhees & Harman's TREC and `ir_measures`; a passage of grade 1 and above is relevant:
- `R@k`: relevant passages among the first k / all relevant ones: true recall, below 1 when more than k are relevant;
- `Success@k`: 1 when a relevant passage is among the first k. With one relevant passage a query, the same as `R@k`;
- `P@k`: relevant passages among the first k / k;
- `MRR`, `MRR@k`: 1 / rank of the first relevant passage, 0 when there is none (or none in the first k);
- `nDCG@k`: sum of grade / log2(rank + 1) over the first k / that of the best order (Järvelin & Kekäläinen 2002);
- `mAP`, `mAP@k`: mean over the relevant passages of the precision at their ranks.

Order: trec_eval's own, so that its figures come out: by score as float32, down; equal scores by passage id, down.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np

from umr.data.qrels import Qrels
from umr.errors import InputError, UsageError
from umr.evaluate.evaluation import Evaluation

Ranking = Sequence[tuple[str, float]]
"""(passage id, score), in any order."""

DEFAULT_METRICS = ("R@1", "R@5", "MRR", "nDCG@10")

TREC_NAMES = {"R": "R", "Success": "Success", "P": "P", "MRR": "RR", "nDCG": "nDCG", "mAP": "AP"}
CUTOFF_OPTIONAL = ("MRR", "mAP", "nDCG")


def evaluate_run(
    run: Mapping[str, Ranking], qrels: Qrels, languages: Mapping[str, str], metrics: Sequence[str] = DEFAULT_METRICS
) -> Evaluation:
    """Measures a run.

    Arguments:
        run: query id -> passages with their scores.
        qrels: judgments; a judged query that the run lacks counts as 0, one without judgments is left out.
        languages: query id -> language code, for every judged query.
        metrics: names as in the head of this file.

    Returns:
        Values in 0 to 1 for every judged query, with what was missing.

    Raises:
        UsageError: a metric is unknown, or none was asked for.
        InputError: a judged query has no language; a ranking names a passage twice or has a score that is not a
            number; no judgment.
    """
    measures = {name: _parse(name) for name in metrics}
    _check(qrels, languages, measures)
    scores = {query: _scores(query, run[query]) for query in qrels.grades if run.get(query)}
    return Evaluation(
        per_query=_values(measures, scores, qrels),
        languages={query: languages[query] for query in qrels.grades},
        missing=sum(query not in run for query in qrels.grades),
        unjudged=sum(query not in qrels.grades for query in run),
        without_relevant=sum(not qrels.relevant(query) for query in qrels.grades),
    )


def _parse(name: str) -> tuple[ir_measures.Measure, int]:
    """The trec_eval measure behind a name, and the cutoff still to be applied to it (0: none)."""
    match = re.fullmatch(r"(\w+?)(?:@([1-9]\d*))?", name, flags=re.ASCII)
    family, cutoff = (match[1], match[2]) if match else ("", None)
    if family not in TREC_NAMES or (cutoff is None and family not in CUTOFF_OPTIONAL):
        known = ", ".join(f"{other}[@k]" if other in CUTOFF_OPTIONAL else f"{other}@k" for other in TREC_NAMES)
        raise UsageError(f"unknown metric {name!r}", f"known: {known}, k a whole number from 1")
    if family == "MRR":  # trec_eval has no cutoff for it
        return ir_measures.RR, int(cutoff or 0)
    return ir_measures.parse_measure(TREC_NAMES[family] + (f"@{cutoff}" if cutoff else "")), 0


def _check(qrels: Qrels, languages: Mapping[str, str], measures: Mapping[str, object]) -> None:
    """Refuses what cannot be averaged: no metric, no judgment, a judged query without a language."""
    if not measures:
        raise UsageError("no metric was asked for", f"for example {', '.join(DEFAULT_METRICS)}")
    if not qrels.grades:
        raise InputError("no judgment to measure against", "give the judgments of these queries")
    unknown = [query for query in qrels.grades if query not in languages]
    if unknown:
        what = f"{len(unknown)} of {len(qrels)} judged queries are not among the queries, the first {unknown[0]!r}"
        raise InputError(what, "give the judgments that belong to these queries; leaving some out would hide them")


def _scores(query: str, ranking: Ranking) -> dict[str, float]:
    """A ranking as trec_eval takes it, after checking that it is one."""
    scores = dict(ranking)
    if len(scores) != len(ranking):
        raise InputError(f"query {query!r}: the run names a passage twice", "keep one row of each pair")
    if any(map(math.isnan, scores.values())):
        raise InputError(f"query {query!r}: a score is not a number", "mine again: the encoder gave NaN")
    return scores


def first_of(ranking: Ranking, depth: int) -> list[tuple[str, float]]:
    """The first passages of a ranking, in trec_eval's order."""
    return sorted(ranking, key=lambda one: (np.float32(one[1]), one[0]), reverse=True)[:depth]


def _values(
    measures: Mapping[str, tuple[ir_measures.Measure, int]], scores: Mapping[str, Mapping[str, float]], qrels: Qrels
) -> dict[str, dict[str, float]]:
    """Metric -> {query -> value}; queries that trec_eval does not see (missing, empty) keep 0."""
    grades = {query: {passage: max(0, grade) for passage, grade in row.items()} for query, row in qrels.grades.items()}
    found = {measure: dict.fromkeys(grades, 0.0) for measure, _ in measures.values()}
    for metric in ir_measures.pytrec_eval.evaluator(list(found), grades).iter_calc(scores):
        found[metric.measure][metric.query_id] = metric.value
    return {name: {q: _cut(v, k) for q, v in found[measure].items()} for name, (measure, k) in measures.items()}


def _cut(reciprocal: float, cutoff: int) -> float:
    """A reciprocal rank with a cutoff: 0 where the rank lies beyond it. A cutoff of 0 leaves every value as it is."""
    return reciprocal if not cutoff or reciprocal * (cutoff + 0.5) > 1 else 0.0
