"""The mined candidates of a round put in another order, and what the order is worth: hits by known passages, Kendall's tau."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from umr import Workspace
    from umr.data.candidates import Candidates
    from umr.data.labels import Labels
    from umr.data.qrels import Qrels
    from umr.evaluate import Comparison, Evaluation

Floats = NDArray[np.float32]
METRICS = {"R@1": "Success@1", "R@5": "Success@5"}
"""R@k here is a hit: one of the passages that a query was written from is among the first k."""
FOUND = "Success@{k}"


def order_of(labels: Labels) -> Floats:
    """What the candidates are ordered by [Q, k]: the nats that the labels are made of."""
    return labels.scores if labels.combined is None else labels.combined


def judge_order(candidates: Candidates, values: Floats, ids: NDArray[np.object_], gold: Qrels) -> Evaluation:
    """Hits of the candidates by falling value.

    Arguments:
        candidates: of the round, best first; equal values keep this order.
        values: [Q, k], greater is better.
        ids: [Q, k] passage ids.
        gold: the passages that each query was written from; read for this alone.

    Returns:
        an evaluation with the metrics of `METRICS` and a hit among all k; a query whose passage was not mined counts as 0.
    """
    from umr.evaluate import evaluate_run

    order = np.argsort(-values, axis=1, kind="stable")
    ranked, scores = np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)
    run = {q: list(zip(p, s.tolist(), strict=True)) for q, p, s in zip(candidates.query_ids, ranked, scores, strict=True)}
    langs = dict(zip(candidates.query_ids, candidates.langs, strict=True))
    return evaluate_run(run, gold, langs, (*METRICS.values(), FOUND.format(k=values.shape[1])))


def passage_ids(workspace: Workspace, candidates: Candidates) -> NDArray[np.object_]:
    """The ids of the candidates [Q, k]."""
    found = np.array(workspace.passages.ids(candidates.rows.reshape(-1)), dtype=object)
    return found.reshape(candidates.rows.shape)


def change(comparison: Comparison) -> str:
    """The interval of a macro difference, in points."""
    return f"{100 * comparison.macro.low:+.1f} to {100 * comparison.macro.high:+.1f}"


def agreement(a: Floats, b: Floats) -> tuple[NDArray[np.float64], float, float]:
    """How far two labellings of the same candidates agree.

    Arguments:
        a, b: [Q, k] scores, all of them finite.

    Returns:
        Kendall's tau-b of each query [Q], the share of queries with the same first passage, the largest difference in nats.
    """
    from umr.label.inspect.agreement import rank_correlations

    tau = rank_correlations(a, b, np.ones(a.shape, dtype=np.bool_))[0]
    return tau, float((a.argmax(axis=1) == b.argmax(axis=1)).mean()), float(np.abs(a - b).max())
