"""Whether a difference between two runs is more than chance: a paired bootstrap over queries, language by language.

For language l with queries 1..n_l let d_q = after_q - before_q. One resample draws n_l queries of that language
with replacement and takes m_l* = mean of their d. The macro difference (1/L) sum_l mean(d) is resampled as
    M* = (1/L) sum_l m_l*,
so that every language keeps its size and weight (a stratified bootstrap; drawing from the pool would not). An interval
is the percentile interval of m_l* or M* (Efron & Tibshirani 1993, ch. 13; for retrieval Sakai, SIGIR 2006).

Beside it stands a paired randomisation test: were there no difference, each d_q could as well have the other sign. p is the
share of random signs that give a mean at least as far from 0 (Fisher 1935; for retrieval Smucker et al., CIKM 2007). The p of the
languages are corrected for their number (Holm 1979); that of the macro mean is one test.

Both speak of other queries of the same kind, not of other corpora, seeds or trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umr.errors import MismatchError, UsageError
from umr.evaluate.evaluation import Evaluation

BATCH_ELEMENTS = 4_000_000
"""Resampled values held at once, 32 MB in f64: bounds the memory, does not change the numbers' distribution."""

ROUNDING = 1e-12
"""Means of values in -1 to 1 that should be 0 stay below this."""


@dataclass(frozen=True)
class Difference:
    """One row of a comparison; values in 0 to 1, differences in -1 to 1.

    Arguments:
        queries: number of queries.
        before: mean before.
        after: mean after.
        low: lower end of the interval of after - before.
        high: upper end of that interval.
        p: of no difference, by randomisation; for a language corrected for the number of languages.
    """

    queries: int
    before: float
    after: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """Mean after less mean before."""
        return self.after - self.before


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of the same queries under one metric.

    Arguments:
        metric: its name.
        confidence: of every interval, 0 to 1.
        resamples: draws behind every interval.
        seed: of the draws.
        per_language: language -> its row, languages sorted.
        macro: the mean over languages.
    """

    metric: str
    confidence: float
    resamples: int
    seed: int
    per_language: Mapping[str, Difference]
    macro: Difference

    def significant(self, row: Difference) -> bool:
        """Whether a row's p is below what the confidence leaves: 0.05 of 95 %."""
        return row.p < 1 - self.confidence


def compare(
    before: Evaluation,
    after: Evaluation,
    *,
    metric: str,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compares two evaluations of the same queries, with an interval for every language and for the macro mean.

    Arguments:
        before: the evaluation to start from.
        after: the evaluation that should be better.
        metric: a metric that both hold.
        resamples: bootstrap draws; 10,000 place a 95 % limit within about 0.02 standard errors.
        seed: of the draws. Each language draws from its own stream: another language's queries do not move it.
        confidence: of the intervals, strictly between 0 and 1.

    Returns:
        The rows; the same inputs give the same numbers.

    Raises:
        UsageError: an unknown metric, fewer than 1 resample, a confidence outside 0 to 1.
        MismatchError: the evaluations are not of the same queries.
    """
    _check(before, after, metric, resamples, confidence)
    changes = {lang: _changes(before, after, metric, lang) for lang in before.counts}
    draws = {lang: _draws(d, lang, resamples, seed) for lang, d in changes.items()}
    flips = {lang: _flips(d, lang, resamples, seed) for lang, d in changes.items()}
    p = _holm({lang: _p(float(d.mean()), flips[lang]) for lang, d in changes.items()})
    rows = {
        lang: Difference(n, before.per_language[lang][metric], after.per_language[lang][metric], *_ends(draws[lang], confidence), p[lang])
        for lang, n in before.counts.items()
    }
    middle = float(np.mean([d.mean() for d in changes.values()]))
    ends = _ends(np.mean(list(draws.values()), axis=0), confidence)
    p_macro = _p(middle, np.mean(list(flips.values()), axis=0))
    macro = Difference(len(before.languages), before.macro[metric], after.macro[metric], *ends, p_macro)
    return Comparison(metric, confidence, resamples, seed, rows, macro)


def _check(before: Evaluation, after: Evaluation, metric: str, resamples: int, confidence: float) -> None:
    """Refuses what cannot be compared."""
    if metric not in before.per_query or metric not in after.per_query:
        shared = [name for name in before.metrics if name in after.metrics]
        raise UsageError(f"metric {metric!r} is not in both evaluations", f"both hold: {', '.join(shared) or 'none'}")
    if resamples < 1 or not 0 < confidence < 1:
        what = f"resamples {resamples} and confidence {confidence}"
        raise UsageError(what, "resamples from 1 up, confidence strictly between 0 and 1, for example 0.95")
    other = next((query for query, lang in before.languages.items() if after.languages.get(query, lang) != lang), None)
    if other is not None and before.languages.keys() == after.languages.keys():
        what = f"query {other!r} counts as {before.languages[other]} in one evaluation and as {after.languages[other]} in the other"
        raise MismatchError(what, "say the languages in the file of the queries, or with --lang")
    if before.languages != after.languages:
        what = f"the evaluations are of different queries ({len(before.languages)} and {len(after.languages)})"
        raise MismatchError(what, "evaluate both runs with the same queries and the same judgments")


def _changes(before: Evaluation, after: Evaluation, metric: str, language: str) -> NDArray[np.float64]:
    """The d [n_l] of one language: after less before, queries sorted: their order in a file moves no draw."""
    old, new = before.of(metric, language), after.per_query[metric]
    return np.array([new[query] - old[query] for query in sorted(old)], dtype=np.float64)


def _draws(changes: NDArray[np.float64], language: str, resamples: int, seed: int) -> NDArray[np.float64]:
    """m_l* [resamples]: means of d over queries drawn with replacement, from the language's own stream."""
    from scipy.stats import bootstrap  # half a second that only a comparison should pay

    if np.ptp(changes) == 0:  # nothing to draw: every resample is the same, and scipy refuses a single query
        return np.full(resamples, changes[0])
    rng = np.random.default_rng([seed, *language.encode()])
    batch = max(1, BATCH_ELEMENTS // len(changes))
    result = bootstrap((changes,), np.mean, n_resamples=resamples, batch=batch, rng=rng, method="percentile")
    return np.asarray(result.bootstrap_distribution, dtype=np.float64)


def _ends(draws: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The percentile interval of resampled means [resamples]."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _flips(changes: NDArray[np.float64], language: str, resamples: int, seed: int) -> NDArray[np.float64]:
    """Means [resamples] of the d of a language under random signs, from a stream of their own."""
    rng, batch = np.random.default_rng([seed, 1, *language.encode()]), max(1, BATCH_ELEMENTS // len(changes))
    signs = (rng.integers(0, 2, (min(batch, resamples - at), len(changes)), dtype=np.int8) for at in range(0, resamples, batch))
    return np.concatenate([(2.0 * drawn - 1.0) @ changes for drawn in signs]) / len(changes)


def _p(observed: float, flips: NDArray[np.float64]) -> float:
    """Share of the means under random signs [resamples] that are as far from 0; what was observed is one of them."""
    return float((1 + np.count_nonzero(np.abs(flips) >= abs(observed) - ROUNDING)) / (1 + len(flips)))


def _holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction: the smallest p times the number of tests, the next times one fewer, and never below one before it."""
    ordered = sorted(p, key=p.__getitem__)
    corrected = np.maximum.accumulate([min(1.0, (len(p) - at) * p[name]) for at, name in enumerate(ordered)])
    return dict(zip(ordered, corrected.tolist(), strict=True))
