"""Several scores of a candidate become one: language models, the retriever, and what is taken out of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.config import LabelConfig
from umr.data.candidates import Candidates
from umr.data.language_effect import language_effect
from umr.errors import ScoreError, UsageError

FLAT = 1e-12  # a row whose values differ by less than this share of the largest is constant but for rounding

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


def combine_scores(
    scores: Floats,
    *,
    config: LabelConfig,
    candidates: Candidates,
    others: Sequence[Floats] = (),
    prior: Floats | None = None,
    passage_langs: NDArray[Any] | None = None,
) -> Floats:
    """Correct the scores, average the language models, and add the retriever.

    All three work on z-scores over a question's scored candidates (population deviation; 0 where all are equal) and are
    scaled back to mean and deviation of the first language model, corrected:

        combined = mean + deviation * (average of the models' z + fuse * z of the retriever) / (1 + fuse)

    So the combined scores are nats of the first model, never more spread than its own, and the temperature keeps its meaning
    whatever the weight and the number of models. Sources that agree leave the spread as it is; where they disagree it shrinks.

    Arguments:
        scores: [Q, k] float32 nats of the first language model, NaN where a candidate was not scored.
        config: `fuse` and `correct` are read.
        candidates: their `scores` are the retriever's [Q, k], their `langs` the questions'.
        others: [Q, k] float32 of each further model, NaN exactly where `scores` is.
        prior: [Q] float32 nats, log p(query | empty passage) by the first model; with `correct` empty. It is one number a question:
            the combined scores become comparable between questions, their order and labels stay.
        passage_langs: [Q, k] numbers of the passages' languages; with `correct` average, which takes the language effect
            out of the scores of every model; the retriever's stay.

    Returns:
        [Q, k] float32 nats, NaN where not scored; `scores` itself where nothing is to be done.

    Raises:
        ScoreError: a score is infinite, a question with candidates has none, a candidate has scores of some models only, or
            a padded place has one.
        UsageError: what the correction needs is missing.
    """
    present = _present(scores, others, candidates)
    if not config.fuse and config.correct == "none" and not others:
        return scores
    effect = _Effect(config, candidates, present, passage_langs)
    first = effect.removed(scores) - _prior(config, prior, len(scores))
    mean, deviation = moments(first, present)
    z = sum((standardise(effect.removed(other), present) for other in others), standardise(first, present)) / (1 + len(others))
    if config.fuse:
        z = (z + config.fuse * standardise(candidates.scores.astype(np.float64), present)) / (1 + config.fuse)
    combined: Floats = np.where(present, mean + deviation * z, np.nan).astype(np.float32)
    return combined


def moments(values: Doubles, present: Bools) -> tuple[Doubles, Doubles]:
    """Mean and population deviation of each row's present values.

    Arguments:
        values: [Q, k] float64.
        present: [Q, k].

    Returns:
        [Q, 1] means and [Q, 1] deviations; a deviation is exactly 0 where the values are equal but for rounding. Both are 0
        where none is present.
    """
    count = np.maximum(1, present.sum(axis=1, keepdims=True))
    kept = np.where(present, values, 0.0)
    mean = kept.sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((np.where(present, values - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    largest = np.abs(kept).max(axis=1, keepdims=True)
    return mean, np.where(deviation <= FLAT * largest, 0.0, deviation)


def standardise(values: Doubles, present: Bools) -> Doubles:
    """The z-score of each present value in its row, 0 where the row is constant and where nothing is present.

    Arguments:
        values: [Q, k] float64.
        present: [Q, k].
    """
    mean, deviation = moments(values, present)
    z: Doubles = np.where(present, values - mean, 0.0) / np.where(deviation > 0, deviation, np.inf)
    return z


class _Effect:
    """The language effect where it is asked for: every model has its own."""

    def __init__(self, config: LabelConfig, candidates: Candidates, present: Bools, passage_langs: NDArray[Any] | None) -> None:
        self.wanted, self.present, self.passage_langs = config.correct == "average", present, passage_langs
        self.query_langs = np.unique(candidates.langs, return_inverse=True)[1]
        if self.wanted and (passage_langs is None or passage_langs.shape != present.shape):
            raise UsageError("the average correction needs a language for every candidate")
        self.closeness = standardise(candidates.scores.astype(np.float64), present)

    def removed(self, scores: Floats) -> Doubles:
        """The scores [Q, k] without it, in float64."""
        values = scores.astype(np.float64)
        if not self.wanted or self.passage_langs is None:
            return values
        return values - language_effect(values, self.closeness, self.present, self.query_langs, self.passage_langs)


def _prior(config: LabelConfig, prior: Floats | None, queries: int) -> Doubles:
    if config.correct != "empty":
        return np.zeros((1, 1))
    if prior is None or prior.shape != (queries,) or not np.isfinite(prior).all():
        raise UsageError("the empty correction needs a finite score of every question under an empty passage")
    return prior.astype(np.float64)[:, None]


def _present(scores: Floats, others: Sequence[Floats], candidates: Candidates) -> Bools:
    present = np.isfinite(scores)
    for number, values in enumerate((scores, *others), start=1):
        if values.shape != candidates.rows.shape:
            raise ScoreError(f"scores of language model {number} are {values.shape}, expected {candidates.rows.shape}")
        wrong = np.isinf(values) | (np.isfinite(values) != present)
        _refuse(wrong, candidates, f"has an infinite score of language model {number}, or lacks one that another model gave")
    there = candidates.present
    _refuse(present & ~there, candidates, "has a score where it has no candidate")
    unscored: Bools = np.logical_or.reduce(there, axis=1, keepdims=True) & ~np.logical_or.reduce(present, axis=1, keepdims=True)
    _refuse(unscored, candidates, "has no scored candidate")
    _refuse(there & ~np.isfinite(candidates.scores), candidates, "has a retriever score that is not finite")
    return present


def _refuse(wrong: Bools, candidates: Candidates, what: str) -> None:
    """Refuse the scores where any of `wrong` [Q, k] is true, naming the first such query."""
    if wrong.any():
        query = candidates.query_ids[int(np.argmax(wrong.any(axis=1)))]
        raise ScoreError(f"query {query!r} {what}", "run `umr label` again: scores that are missing are computed")
