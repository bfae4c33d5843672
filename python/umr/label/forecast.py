"""What a labelling will take, said before the work: pairs, sharing, tokens, operations, time and disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from umr.label.budget import Budget
from umr.label.engines import Engine
from umr.label.pairs import Pairs
from umr.label.plan import Plan
from umr.label.work import Scorer
from umr.progress import Reporter

RECORD = 40  # bytes of a score in the store
SAMPLE = 32  # batches whose operations are counted
REACHED = 0.6  # of the speed of one large matrix product: what labelling reaches, about


@dataclass(frozen=True)
class Forecast:
    """A labelling by one language model.

    Arguments:
        lm: as the user named it.
        pairs: that have or get a score.
        missing: that have to be scored.
        passages: of the missing pairs, each once.
        tokens: to compute, without padding.
        padding: tokens that fill batches, about.
        whole: tokens if every pair were computed by itself.
        batches: how many.
        budget: tokens of a batch at most.
        flops: useful floating-point operations, about.
        seconds: at 60 % of the speed of one large matrix product here; None where that was not measured.
        store: bytes that the new scores take on disk.
        peak: FLOP/s of one large matrix product here, measured; None where it was not.
        template: of the prompt.
    """

    lm: str
    pairs: int
    missing: int
    passages: int = 0
    tokens: int = 0
    padding: int = 0
    whole: int = 0
    batches: int = 0
    budget: int = 0
    flops: float = 0.0
    seconds: float | None = 0.0
    store: int = 0
    peak: float | None = None
    template: str = ""

    @property
    def sharing(self) -> float:
        """Missing pairs for each of their passages."""
        return self.missing / max(1, self.passages)


def forecast(lm: str, pairs: Pairs, missing: int, plan: Plan, todo: list[int], engine: Engine) -> Forecast:
    """What the batches that are left will take.

    Arguments:
        lm: name of the language model.
        pairs: of the round.
        missing: pairs without a score.
        plan: of them.
        todo: the batches that are left.
        engine: that scores them.
    """
    tokens = sum(plan.arrangement.tokens(batch) for batch in todo)
    left = np.concatenate([plan.places(batch) for batch in todo])
    flops, padding = _sampled(plan, todo, engine.scorer, tokens)
    return Forecast(
        lm, len(pairs), missing, len(np.unique(pairs.rows[plan.numbers[left]])), tokens, round(padding), plan.whole(left),
        len(todo), plan.budget, flops, flops / (REACHED * engine.peak) if engine.peak else None, RECORD * missing,
        engine.peak,
    )  # fmt: skip


def _sampled(plan: Plan, todo: list[int], scorer: Scorer, tokens: int) -> tuple[float, float]:
    """Operations and padding of a few batches, from the longest to the shortest, scaled to all."""
    some = [todo[n] for n in np.unique(np.linspace(0, len(todo) - 1, SAMPLE).astype(int))]
    scale = tokens / sum(plan.arrangement.tokens(batch) for batch in some)
    padded = getattr(scorer, "padding", lambda trees: 0)
    flops = padding = 0.0
    for batch in some:
        trees = plan.trees(batch)
        flops, padding = flops + scale * scorer.flops(trees), padding + scale * padded(trees)
    return flops, padding


def announce(made: Forecast, budget: Budget, reporter: Reporter) -> None:
    """Say it in three lines."""
    if not made.missing:
        return
    reporter.say(f"to score: {made.missing:,} pairs of {made.passages:,} passages, each of which serves {made.sharing:.1f} queries")
    padding = made.padding / (made.tokens + made.padding)
    reporter.say(
        f"{made.tokens:,} tokens instead of {made.whole:,} pair by pair, in {made.batches:,} batches of at most {budget.tokens:,} "
        f"tokens ({budget.why}), {padding:.1%} padding"
    )
    reporter.say(f"{made.flops:.3g} floating-point operations{_about(made)}; {made.store / 1e6:,.1f} MB of scores")


def _about(made: Forecast) -> str:
    if made.seconds is None or made.peak is None:
        return ""
    return f", about {duration(made.seconds)} at {REACHED:.0%} of the {made.peak / 1e9:,.0f} GFLOP/s of one matrix product here"


def duration(seconds: float) -> str:
    """A time in the two largest of its units: `3 h 20 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
