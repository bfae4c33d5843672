"""What a labelling will take, said before the work: pairs, sharing, tokens, operations, time and disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from umr.data.scores import RECORD_BYTES
from umr.label.plan.budget import score_within
from umr.label.plan.pairs import Pairs
from umr.label.plan.plan import Plan
from umr.label.scorers import Scorer
from umr.label.scorers.trees import fill
from umr.progress import Reporter
from umr.progress.clock import duration, seconds_of

COUNTED_BATCHES = 32  # whose operations are counted
TIMED_TOKENS = {"cpu": 2048, "cuda": 262144}  # of a batch that is timed
TIMED_AT = (0.5, 0.1, 0.3, 0.7, 0.9)  # which batches are timed, of all of them; the first is for warming up


@dataclass(frozen=True)
class Forecast:
    """A labelling by one language model.

    Arguments:
        lm: as the user named it.
        pairs: that have or get a score.
        missing: that have to be scored.
        passages: of the missing pairs, each once.
        tokens: to compute, without padding.
        whole: tokens if every pair were computed by itself.
        batches: how many.
        budget: tokens of a batch at most.
        flops: floating-point operations of the products with weights, about.
        seconds: by the time that some batches took here; None where none was timed.
        store: bytes that the new scores take on disk.
    """

    lm: str
    pairs: int
    missing: int
    passages: int = 0
    tokens: int = 0
    whole: int = 0
    batches: int = 0
    budget: int = 0
    flops: float = 0.0
    seconds: float | None = 0.0
    store: int = 0

    @property
    def sharing(self) -> float:
        """Missing pairs for each of their passages."""
        return self.missing / max(1, self.passages)


def forecast(lm: str, pairs: Pairs, missing: int, plan: Plan, batches: Sequence[int], scorer: Scorer) -> Forecast:
    """What unfinished batches will take, but for the time.

    Arguments:
        lm: name of the language model.
        pairs: of the round.
        missing: pairs without a score.
        plan: of them.
        batches: those that are unfinished.
        scorer: that scores them.
    """
    tokens = sum(map(plan.tokens, batches))
    places = np.concatenate([plan.places(batch) for batch in batches])
    whole = plan.sources.lengths[plan.source_of[places]].sum() + plan.targets.lengths[plan.target_of[places]].sum()
    some = [batches[n] for n in np.unique(np.linspace(0, len(batches) - 1, COUNTED_BATCHES).astype(int))]
    flops = sum(scorer.flops(plan.trees(batch)) for batch in some) / sum(map(plan.tokens, some))
    return Forecast(
        lm, len(pairs), missing, len(np.unique(pairs.rows[plan.numbers[places]])), tokens, int(whole), len(batches), plan.budget,
        flops * tokens, None, RECORD_BYTES * missing,
    )  # fmt: skip


def seconds_per_token(plan: Plan, batches: Sequence[int], scorer: Scorer, device: str, reporter: Reporter) -> float:
    """The time that a token takes, from scoring some batches, or the beginnings of them, between the shortest and the longest.

    Arguments:
        plan: of the pairs.
        batches: those that are unfinished; their scores are dropped.
        scorer: that scores them.
        device: cpu or cuda.
        reporter: told when memory runs out.
    """

    def timed(share: float) -> tuple[Callable[[], object], float]:
        trees = plan.trees(batches[int(share * len(batches))])
        (part,) = islice(fill(trees, min(plan.budget, TIMED_TOKENS[device])), 1)
        return partial(score_within, scorer, part, plan.budget, reporter), sum(tree.tokens for tree in part)

    return seconds_of(map(timed, TIMED_AT))


def announce(made: Forecast, reporter: Reporter) -> None:
    """Say it in three lines."""
    if not made.missing:
        return
    reporter.say(f"to score: {made.missing:,} pairs of {made.passages:,} passages, each of which serves {made.sharing:.1f} queries")
    reporter.say(
        f"{made.tokens:,} tokens instead of {made.whole:,} pair by pair, in {made.batches:,} batches of at most {made.budget:,} tokens"
    )
    about = "" if made.seconds is None else f", about {duration(made.seconds)}"
    reporter.say(f"{made.flops:.3g} floating-point operations{about}; {made.store / 1e6:,.1f} MB of scores")
