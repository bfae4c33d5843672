"""The language effect against alternating fits, and what taking it out may and may not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference import combine as slow
from umr.config import LabelConfig
from umr.data.candidates import Candidates
from umr.label.combine import combine_scores
from umr.label.language_effect import SHRINK, language_effect

AVERAGE = LabelConfig("lm", correct="average")


def effect_of(scores: NDArray[Any], query_langs: NDArray[Any], passage_langs: NDArray[Any]) -> NDArray[np.float64]:
    """The effect where all are scored and the retriever has no view."""
    return language_effect(scores, np.zeros(scores.shape), np.ones(scores.shape, dtype=bool), query_langs, passage_langs)


def candidates_of(retriever: NDArray[np.float32], langs: list[str]) -> Candidates:
    rows = np.arange(retriever.size, dtype=np.uint32).reshape(retriever.shape)
    return Candidates([f"q{i}" for i in range(len(retriever))], langs, rows, retriever)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_the_effect_equals_fits_in_turn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 6)), int(rng.integers(1, 8)))
    scores = rng.normal(-3, 1, shape)
    scores[rng.random(shape) < 0.2] = np.nan
    scores[:, 0] = rng.normal(-3, 1, shape[0])
    queries, passages = rng.integers(0, 2, shape[0]), rng.integers(0, 4, shape) * 3
    closeness = rng.normal(size=shape) * rng.choice([0, 1])
    found = language_effect(scores, closeness, np.isfinite(scores), queries, passages)
    expected = np.array(slow.language_effect(scores.tolist(), closeness.tolist(), queries.tolist(), passages.tolist(), SHRINK))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_one_language_has_no_effect() -> None:
    scores = np.random.default_rng(0).normal(-3, 1, (6, 5)).astype(np.float32)
    langs = np.full((6, 5), 7)
    np.testing.assert_allclose(effect_of(scores, np.zeros(6, dtype=int), langs), 0, atol=1e-12)
    candidates = candidates_of(scores, ["en"] * 6)
    found = combine_scores(candidates, scores[None], AVERAGE, langs)
    np.testing.assert_allclose(found, scores, rtol=1e-6)


def biased(queries: int, bias: float, better: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str], NDArray[np.int64]]:
    """Scores that are relevance, a level of the query and a bonus for its own language; rows of uneven mixtures.

    Passages of the own language are more relevant by `better`.
    """
    rng = np.random.default_rng(1)
    query_langs = rng.integers(0, 3, queries)
    own = rng.random((queries, 12)) < rng.uniform(0, 0.8, (queries, 1))
    passage_langs = np.where(own, query_langs[:, None], rng.integers(0, 3, own.shape))
    same = passage_langs == query_langs[:, None]
    relevance = rng.normal(size=own.shape) + better * same
    scores = relevance + rng.normal(-5, 4, (queries, 1)) + bias * same
    return scores.astype(np.float32), relevance, [("en", "de", "fi")[lang] for lang in query_langs], passage_langs


def corrected(
    scores: NDArray[np.float32], langs: list[str], passage_langs: NDArray[np.int64], retriever: NDArray[Any]
) -> NDArray[np.float32]:
    candidates = candidates_of(retriever.astype(np.float32), langs)
    return combine_scores(candidates, scores[None], AVERAGE, passage_langs)


def noisy(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A retriever that sees relevance through a haze."""
    return relevance + np.random.default_rng(2).normal(0, 0.3, relevance.shape)


def test_a_bonus_for_the_own_language_is_found_and_taken_out() -> None:
    scores, relevance, langs, passage_langs = biased(400, 5.0)
    best = relevance.argmax(axis=1)
    assert (scores.argmax(axis=1) == best).mean() < 0.75
    for retriever in (noisy(relevance), np.zeros(scores.shape)):
        found = corrected(scores, langs, passage_langs, retriever)
        assert (found.argmax(axis=1) == best).mean() > 0.9
        rest = found - relevance
        np.testing.assert_allclose(rest - rest.mean(axis=1, keepdims=True), 0, atol=0.4)


def test_without_a_bonus_little_changes() -> None:
    scores, relevance, langs, passage_langs = biased(400, 0.0)
    assert np.abs(corrected(scores, langs, passage_langs, noisy(relevance)) - scores).max() < 0.2


def test_a_language_whose_passages_are_better_keeps_what_the_retriever_sees_too() -> None:
    scores, relevance, langs, passage_langs = biased(400, 0.0, better=2.0)
    seen, blind = (corrected(scores, langs, passage_langs, r) for r in (noisy(relevance), np.zeros(scores.shape)))
    assert np.abs(seen - scores).max() < 0.4 < 1.0 < np.abs(blind - scores).max()


def test_models_have_an_effect_each_and_the_retriever_keeps_its_scores() -> None:
    scores, relevance, langs, passage_langs = biased(60, 3.0)
    other, retriever = scores[:, ::-1].copy(), noisy(relevance).astype(np.float32)
    candidates = candidates_of(retriever, langs)
    found = combine_scores(candidates, np.stack([scores, other]), LabelConfig("lm", fuse=0.5, correct="average"), passage_langs)
    apart = [corrected(table, langs, passage_langs, retriever) for table in (scores, other)]
    expected = slow.combined([table.tolist() for table in apart], [retriever.tolist()], 0.5)
    np.testing.assert_allclose(found, np.array(expected), atol=1e-4)


def test_the_levels_of_questions_do_not_leak_into_languages() -> None:
    """Language 1 is met by likely queries only; within every query both languages score alike."""
    scores = np.array([[-1.0, -1.0], [-1.0, -1.0], [-9.0, -9.0]])
    langs = np.array([[0, 1], [1, 1], [0, 0]])
    np.testing.assert_allclose(effect_of(scores, np.zeros(3, dtype=int), langs), 0, atol=1e-12)


def test_one_candidate_of_a_language_says_little() -> None:
    scores = np.array([[0.0, -1.0, -1.0, -1.0, -1.0]])
    found = effect_of(scores, np.zeros(1, dtype=int), np.array([[1, 0, 0, 0, 0]]))
    assert 0 < found[0, 0] < 0.1


def test_effects_sum_to_nothing_and_belong_to_the_questions_language() -> None:
    scores, _, _, passage_langs = biased(50, 2.0)
    query_langs = np.arange(50) % 2
    found = effect_of(scores, query_langs, passage_langs)
    for lang in (0, 1):
        rows, langs = found[query_langs == lang], passage_langs[query_langs == lang]
        values = [np.unique(rows[langs == other].round(12)) for other in range(3)]
        assert [len(v) for v in values] == [1, 1, 1]
        assert float(sum(v[0] for v in values)) == pytest.approx(0, abs=1e-9)
    alone = effect_of(scores[::2], query_langs[::2], passage_langs[::2])
    np.testing.assert_allclose(alone, found[::2], atol=1e-12)
