"""Scores become labels: language models are averaged, the retrievers are added, and a softmax is taken (paper, section 3.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.config import LabelConfig, Scale
from umr.data.candidates import Candidates
from umr.data.labels import Labels
from umr.errors import ScoreError, UsageError
from umr.label.language_effect import language_effect

ROUNDING = 1e-12  # a row whose values differ by less than this share of the largest is constant but for rounding
PERCENTILES = (1, 99)  # of all scores, that become 0 and 1

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


def make_labels(candidates: Candidates, scores: Floats, config: LabelConfig, passage_langs: NDArray[Any] | None = None) -> Labels:
    """Make labels as the configuration says: scores are corrected, averaged and fused, then normalised.

    Arguments:
        candidates, scores, passage_langs: see `combine_scores`.
        config: `fuse`, `correct`, `scale` and `temperature` are read.

    Raises:
        ScoreError, UsageError: see `combine_scores`.
    """
    combined = scale_scores(combine_scores(candidates, scores, config, passage_langs), config.scale)
    differs = not np.array_equal(combined, scores[0], equal_nan=True)
    return Labels(candidates, scores[0], normalise(combined, config.temperature), combined if differs else None)


def scale_scores(scores: Floats, scale: Scale) -> Floats:
    """Scores on a scale of their own: as they are, z-scores of each query, or 0 to 1 between two percentiles of all.

    Arguments:
        scores: [Q, k] float32 nats, NaN where not scored.
        scale: none, query or data.

    Returns:
        [Q, k] float32, NaN where not scored; 0 where all are equal.
    """
    if scale == "none":
        return scores
    present = np.isfinite(scores)
    values = scores.astype(np.float64)
    if scale == "query":
        scaled = standardise(values, present)
    else:
        low, high = np.percentile(values[present], PERCENTILES) if present.any() else (0.0, 0.0)
        scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.where(present, scaled, np.nan).astype(np.float32)


def normalise(scores: Floats, temperature: float) -> Floats:
    """Log-softmax of each row of scores divided by the temperature.

    Arguments:
        scores: [Q, k] float32 nats, NaN where a candidate was not scored, or a query has fewer.
        temperature: divides; the paper's code multiplies by 10, which is 0.1 here.

    Returns:
        [Q, k] float32 log-probabilities, -inf where there is no score; the exponentials of a row sum to 1, unless it has no score.
    """
    scaled = scores.astype(np.float64) / temperature
    scaled[np.isnan(scaled)] = -np.inf
    some = ~np.isneginf(scaled).all(axis=1)
    kept = scaled[some]
    kept -= kept.max(axis=1, keepdims=True, initial=-np.inf)
    scaled[some] = kept - np.log(np.exp(kept).sum(axis=1, keepdims=True))
    return scaled.astype(np.float32)


def combine_scores(candidates: Candidates, scores: Floats, config: LabelConfig, passage_langs: NDArray[Any] | None = None) -> Floats:
    """Correct the scores, average the language models, and add the retrievers: the encoder, and whatever else was mined with.

    All three work on z-scores over a query's scored candidates (population deviation; 0 where all are equal) and are
    scaled back to mean and deviation of the first language model, corrected:

        combined = mean + deviation * (average of the models' z + fuse * average of the retrievers' z) / (1 + fuse)

    So the combined scores are nats of the first model, never more spread than its own, and the temperature keeps its meaning
    whatever the weight and the number of models. Sources that agree leave the spread as it is; where they disagree it shrinks.

    Arguments:
        candidates: their `scores` are the encoder's [Q, k], `provenance` has those of further sources, `langs` are the queries'.
        scores: [M, Q, k] float32 nats of each language model, NaN where a candidate was not scored: the same in all.
        config: `fuse` and `correct` are read.
        passage_langs: [Q, k] numbers of the passages' languages; with `correct` average, which takes the language effect
            out of the scores of every model; the retrievers' stay.

    Returns:
        [Q, k] float32 nats, NaN where not scored; the first model's scores where nothing is to be done.

    Raises:
        ScoreError: a score is infinite, a query with candidates has none, a candidate has scores of some models only, or
            a padded place has one.
        UsageError: what the correction needs is missing.
    """
    present = _present(scores, candidates)
    if not config.fuse and config.correct == "none" and len(scores) == 1:
        first: Floats = scores[0]
        return first
    encoder = standardise(candidates.scores.astype(np.float64), present)
    tables = scores.astype(np.float64)
    if config.correct == "average":
        if passage_langs is None or passage_langs.shape != present.shape:
            raise UsageError("the average correction needs a language for every candidate")
        query_langs = np.unique(candidates.langs, return_inverse=True)[1]
        tables = np.stack([table - language_effect(table, encoder, present, query_langs, passage_langs) for table in tables])
    mean, deviation = moments(tables[0], present)
    z = np.mean([standardise(table, present) for table in tables], axis=0)
    retrievers = np.mean([encoder, *further_sources(candidates, present)], axis=0)
    combined: Floats = np.where(present, mean + deviation * (z + config.fuse * retrievers) / (1 + config.fuse), np.nan).astype(np.float32)
    return combined


def further_sources(candidates: Candidates, present: Bools) -> list[Doubles]:
    """The z-scores of each further source that the candidates were mined with: encoders, BM25, runs.

    Arguments:
        candidates: with their provenance; where that is None there are none.
        present: [Q, k] which candidates count.

    Returns:
        [Q, k] of each; a candidate that a source did not find has the least score that it gave another of the query.
    """
    found = list[Doubles]()
    for scores in candidates.provenance.scores[1:].astype(np.float64) if candidates.provenance else ():
        known = present & np.isfinite(scores)
        least = np.where(known, scores, np.inf).min(axis=1, keepdims=True)
        found.append(standardise(np.where(known, scores, np.where(np.isinf(least), 0.0, least)), present))
    return found


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
    return mean, np.where(deviation <= ROUNDING * largest, 0.0, deviation)


def standardise(values: Doubles, present: Bools) -> Doubles:
    """The z-score of each present value in its row, 0 where the row is constant and where nothing is present.

    Arguments:
        values: [Q, k] float64.
        present: [Q, k].
    """
    mean, deviation = moments(values, present)
    z: Doubles = np.where(present, values - mean, 0.0) / np.where(deviation > 0, deviation, np.inf)
    return z


def _present(scores: Floats, candidates: Candidates) -> Bools:
    """[Q, k] where there is a score; what is wrong with scores is refused, the first such query named."""
    if scores.shape[1:] != candidates.rows.shape:
        raise ScoreError(f"scores are {scores.shape}, expected [models, {', '.join(map(str, candidates.rows.shape))}]")
    present: Bools = np.isfinite(scores[0])
    there = candidates.present
    unscored = there.any(axis=1, keepdims=True) & ~present.any(axis=1, keepdims=True)
    lacking = "has an infinite score of language model {}, or lacks one that another model gave"
    wrong = {lacking.format(n): np.isinf(table) | (np.isfinite(table) != present) for n, table in enumerate(scores, start=1)}
    wrong |= {
        "has a score where it has no candidate": present & ~there,
        "has no scored candidate": unscored,
        "has a retriever score that is not finite": there & ~np.isfinite(candidates.scores),
    }
    for what, where in wrong.items():
        if where.any():
            query = candidates.query_ids[int(np.argmax(where.any(axis=1)))]
            raise ScoreError(f"query {query!r} {what}", "run `umr label` again: scores that are missing are computed")
    return present
