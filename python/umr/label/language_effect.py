"""What the languages of query and passage alone do to a score, so that it can be taken out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHRINK = 10.0  # an effect seen in n candidates counts n / (n + 10) of what it seems: few candidates say little about a language

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


def language_effect(
    scores: NDArray[Any], closeness: Doubles, present: Bools, query_langs: NDArray[Any], passage_langs: NDArray[Any]
) -> Doubles:
    """How much higher passages of a language score for the queries of a language than passages of an average one.

    The model is score = level of the query + slope x closeness + effect of (query's language, passage's language)
    + rest. Made smallest is the squared rest and SHRINK times the squared effects and slopes. Every query keeps a level of
    its own, so a language does not look better because easy queries found it. Closeness, the retriever's view, stands for
    relevance, so a language does not look better because its passages are. All queries of a language share effects and
    slope: one query's few candidates of a language say more of themselves than of their language.

    Arguments:
        scores: [Q, k] floats.
        closeness: [Q, k] float64, the retriever's z-scores in each row.
        present: [Q, k] which of them count.
        query_langs: [Q] numbers, equal where the languages are.
        passage_langs: [Q, k] numbers, equal where the languages are.

    Returns:
        [Q, k] float64, to be subtracted. The effects of the languages that the queries of one language met sum to 0.
    """
    effects = np.zeros(scores.shape)
    for lang in np.unique(query_langs):
        rows = np.flatnonzero(query_langs == lang)
        found, numbers = np.unique(passage_langs[rows], return_inverse=True)
        numbers = numbers.reshape(len(rows), -1)
        values = scores[rows].astype(np.float64)
        effects[rows] = _ridge(values, closeness[rows], present[rows], numbers, len(found))[numbers]
    return effects


def _ridge(scores: Doubles, closeness: Doubles, present: Bools, langs: NDArray[np.int64], count: int) -> Doubles:
    """The effects [G] of G languages: the normal equations of effects and slope, from which the levels are eliminated."""
    place = (np.arange(len(scores))[:, None] * count + langs)[present]
    counts = np.bincount(place, minlength=len(scores) * count).reshape(-1, count).astype(np.float64)  # [Q, G]
    close = np.where(present, closeness, 0.0)
    sums = np.concatenate([counts, close.sum(axis=1, keepdims=True)], axis=1)  # [Q, G + 1]
    number = np.maximum(1, counts.sum(axis=1, keepdims=True))
    above = scores - np.where(present, scores, 0.0).sum(axis=1, keepdims=True) / number
    system = np.diag(np.append(counts.sum(axis=0), (close**2).sum()) + SHRINK)
    system[:count, count] = system[count, :count] = np.bincount(langs[present], weights=close[present], minlength=count)
    system -= np.einsum("qa,qb->ab", sums / number, sums)  # no BLAS: the same at any thread count
    right = np.bincount(langs[present], weights=above[present], minlength=count)
    effects: Doubles = np.linalg.solve(system, np.append(right, (above * close)[present].sum()))[:count]
    return effects
