"""The work itself: batch after batch, each on disk before the next begins."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from umr.data.scores import ScoreStore
from umr.data.workspace import Workspace
from umr.errors import ScoreError
from umr.label.budget import Budget, score_within
from umr.label.engines import Engine
from umr.label.pairs import Floats, Pairs
from umr.label.plan import Plan
from umr.progress import Bar, Reporter


def left(plan: Plan, known: Floats) -> list[int]:
    """The batches of a plan with a pair that has no score.

    Arguments:
        plan: the batches.
        known: [P] scores of all pairs of the round, NaN where there is none.
    """
    missing = np.isnan(known[plan.numbers])
    return [batch for batch in range(len(plan)) if missing[plan.places(batch)].any()]


def run(
    workspace: Workspace,
    pairs: Pairs,
    plan: Plan,
    todo: Sequence[int],
    engine: Engine,
    store: ScoreStore,
    budget: Budget,
    flops: float,
    reporter: Reporter,
) -> None:
    """Score batches into a store.

    Arguments:
        workspace: names what goes wrong.
        pairs: of the round.
        plan: the batches.
        todo: which of them.
        engine: that scores.
        store: where the scores go.
        budget: tokens of a batch; smaller after memory ran out.
        flops: useful operations of the batches to do.
        reporter: shows a bar over tokens.

    Raises:
        ScoreError: a score is not finite; the message names the pair.
        UsageError: one pair alone does not fit into memory.
    """
    tokens = sum(plan.arrangement.tokens(batch) for batch in todo)
    total = sum(len(plan.places(batch)) for batch in todo)
    with reporter.bar("labelling", tokens, "tokens") as bar, store.appending() as log:
        meter = _Meter(bar, total, flops / tokens / engine.peak if engine.peak else None)
        for batch in todo:
            trees, numbers = plan.trees(batch), plan.numbers[plan.places(batch)]
            scores = score_within(engine.scorer, trees, budget, reporter)
            bad = np.flatnonzero(~np.isfinite(scores))
            if len(bad):
                raise _not_finite(workspace, pairs, int(numbers[bad[0]]), float(scores[bad[0]]))
            log.append(*pairs.keys(numbers), scores)
            meter.advance(len(numbers), plan.arrangement.tokens(batch))


class _Meter:
    """Pairs a second and the share of the peak, beside a bar over tokens: what comes first has the most pairs in a batch.

    Arguments:
        bar: of tokens.
        total: pairs.
        ideal: seconds that a token takes at the peak, or None where that was not measured.
    """

    def __init__(self, bar: Bar, total: int, ideal: float | None) -> None:
        self._bar, self._total, self._ideal, self._start = bar, total, ideal, time.perf_counter()
        self._pairs = self._tokens = 0

    def advance(self, pairs: int, tokens: int) -> None:
        """Count a finished batch."""
        self._pairs, self._tokens = self._pairs + pairs, self._tokens + tokens
        seconds = max(time.perf_counter() - self._start, 1e-9)
        peak = f", {self._tokens * self._ideal / seconds:.0%} of the matrix peak" if self._ideal else ""
        self._bar.note(f"{self._pairs:,}/{self._total:,} pairs, {self._pairs / seconds:,.1f}/s{peak}")
        self._bar.advance(tokens)


def _not_finite(workspace: Workspace, pairs: Pairs, number: int, value: float) -> ScoreError:
    query, passage = pairs.names(workspace, number)
    return ScoreError(
        f"the score of query {query!r} and passage {passage!r} is {value}",
        "T5 models overflow in fp16: use --precision fp32 or bf16",
    )
