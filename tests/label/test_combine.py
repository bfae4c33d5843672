"""Combined scores against the slow loop, and what combining may never do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference import combine as slow
from umr.config import LabelConfig, Scale
from umr.data.candidates import Candidates, Provenance
from umr.errors import ScoreError, UsageError
from umr.label.combine import combine_scores, make_labels, normalise, scale_scores, standardise

Floats = NDArray[np.float32]
SEEDS = st.integers(0, 2**32 - 1)
WEIGHTS = st.sampled_from([0.0, 0.3, 1.0, 7.0])
PLAIN = LabelConfig("lm")


def configured(**values: Any) -> LabelConfig:
    return LabelConfig("lm", **values)


def candidates_of(retriever: Floats, langs: list[str] | None = None) -> Candidates:
    q, k = retriever.shape
    rows = np.arange(q * k, dtype=np.uint32).reshape(q, k)
    return Candidates([f"q{i}" for i in range(q)], langs or ["en"] * q, rows, retriever)


def drawn(seed: int, models: int = 1) -> tuple[list[Floats], Candidates]:
    """Scores of models and of a retriever; some not scored, some rows constant, some with ties."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 9)))
    screened = rng.random(shape) < rng.choice([0, 0.4])
    screened[:, 0] = False
    tables = []
    for _ in range(models + 1):
        table = (rng.normal(size=shape) * rng.choice([0.01, 1, 50]) - 3).round(int(rng.integers(0, 6))).astype(np.float32)
        table[rng.random(shape[0]) < 0.2] = -1.7
        tables.append(table)
    return [np.where(screened, np.nan, table).astype(np.float32) for table in tables[:-1]], candidates_of(tables[-1])


def found_by(candidates: Candidates, sources: int, seed: int) -> Candidates:
    """The same, mined with further sources that found a part of them, or nothing for a query."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(sources + 1, *candidates.rows.shape)).round(1).astype(np.float32)
    scores[rng.random(scores.shape) < rng.choice([0, 0.5, 1])] = np.nan
    scores[0] = candidates.scores
    names = ("encoder", *(f"source{n}" for n in range(sources)))
    return replace(candidates, provenance=Provenance(names, (~np.isnan(scores)).astype(np.uint32), scores))


@given(SEEDS, st.integers(1, 3), WEIGHTS, st.integers(0, 2))
def test_combined_scores_equal_the_loop(seed: int, models: int, fuse: float, sources: int) -> None:
    tables, candidates = drawn(seed, models)
    candidates = found_by(candidates, sources, seed) if sources else candidates
    found = combine_scores(candidates, np.stack(tables), configured(fuse=fuse))
    retrievers = [candidates.scores] if candidates.provenance is None else list(candidates.provenance.scores)
    expected = slow.combined([t.tolist() for t in tables], [r.tolist() for r in retrievers], fuse)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array(expected), rtol=2e-7, atol=2e-6)


@given(SEEDS)
def test_nothing_asked_changes_nothing(seed: int) -> None:
    (scores,), candidates = drawn(seed)
    assert combine_scores(candidates, scores[None], PLAIN).tobytes() == scores.tobytes()
    made = make_labels(candidates, scores[None], configured(temperature=0.3))
    assert made.combined is None
    assert made.labels.tobytes() == normalise(scores, 0.3).tobytes()


@given(SEEDS, WEIGHTS, st.integers(1, 3))
def test_the_spread_is_never_more_than_the_first_models(seed: int, fuse: float, models: int) -> None:
    tables, candidates = drawn(seed, models)
    found = combine_scores(candidates, np.stack(tables), configured(fuse=fuse))
    assert (np.isnan(found) == np.isnan(tables[0])).all()
    np.testing.assert_allclose(np.nanmean(found, axis=1), np.nanmean(tables[0].astype(float), axis=1), rtol=1e-5, atol=1e-5)
    assert (np.nanstd(found.astype(float), axis=1) <= np.nanstd(tables[0].astype(float), axis=1) * (1 + 1e-5) + 1e-5).all()


@given(SEEDS, WEIGHTS)
def test_sources_that_agree_leave_the_scores(seed: int, fuse: float) -> None:
    (scores,), _ = drawn(seed)
    agreeing = candidates_of(np.nan_to_num(scores * 4 + 2).astype(np.float32))
    found = combine_scores(agreeing, np.stack([scores, (scores * 2 - 1).astype(np.float32)]), configured(fuse=fuse))
    np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-4)


def test_a_large_weight_takes_the_retrievers_order() -> None:
    scores = np.array([[-1.0, -2.0, -3.0, -4.0]], dtype=np.float32)
    candidates = candidates_of(np.array([[0.1, 0.2, 0.9, 0.3]], dtype=np.float32))
    found = combine_scores(candidates, scores[None], configured(fuse=1e6))
    assert np.argsort(-found[0]).tolist() == [2, 3, 1, 0]


def test_what_a_source_did_not_find_counts_as_the_least_that_it_found() -> None:
    """The encoder says nothing here, BM25 found two of three: its best comes first, and the third stands beside its worst."""
    scores = np.array([[-1.0, -1.1, -1.2]], dtype=np.float32)
    bm25 = np.array([[np.nan, 3.0, 9.0]], dtype=np.float32)
    alone = candidates_of(np.ones((1, 3), dtype=np.float32))
    candidates = replace(
        alone, provenance=Provenance(("encoder", "bm25"), np.ones((2, 1, 3), dtype=np.uint32), np.stack([alone.scores, bm25]))
    )
    found = combine_scores(candidates, scores[None], configured(fuse=1e6))[0]
    assert found.argmax() == 2
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert combine_scores(alone, scores[None], configured(fuse=1e6))[0].argmax() == 0


def test_models_enter_alike_whatever_their_units() -> None:
    """The second model's scores a thousandfold: the same labels."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 3, 6)).astype(np.float32)
    candidates = candidates_of(rng.normal(size=(3, 6)).astype(np.float32))
    a, b = (combine_scores(candidates, np.stack([first, second * scale]), PLAIN) for scale in (np.float32(1), np.float32(1000)))
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert not np.allclose(a, first)


@pytest.mark.parametrize("scale", ["none", "query", "data"])
@given(seed=SEEDS)
def test_scaled_scores_equal_the_loop(scale: Scale, seed: int) -> None:
    (scores,), candidates = drawn(seed)
    found = scale_scores(scores, scale)
    np.testing.assert_allclose(found, slow.scaled(scores.astype(np.float64).tolist(), scale), rtol=1e-4, atol=1e-4)
    labels = make_labels(candidates, scores[None], configured(scale=scale, temperature=0.3))
    np.testing.assert_allclose(labels.labels, normalise(found, 0.3), rtol=1e-6)
    if scale != "none" and not np.array_equal(found, scores, equal_nan=True):
        assert labels.combined is not None


def test_one_candidate_and_equal_candidates_are_left_alone() -> None:
    scores = np.array([[-1.3, -1.3, -1.3], [-0.1, np.nan, np.nan]], dtype=np.float32)
    candidates = candidates_of(np.array([[3, 2, 1], [3, 2, 1]], dtype=np.float32))
    found = combine_scores(candidates, scores[None], configured(fuse=2.0))
    np.testing.assert_allclose(found, scores, rtol=1e-6)


def test_what_is_constant_but_for_rounding_has_no_deviation() -> None:
    values = np.array([[0.1 + 0.2, 0.3, 0.3]])
    assert values[0, 0] != values[0, 1]
    assert standardise(values, np.ones((1, 3), dtype=bool)).tolist() == [[0.0, 0.0, 0.0]]


@given(SEEDS, SEEDS)
def test_the_order_of_candidates_does_not_matter(seed: int, order: int) -> None:
    tables, candidates = drawn(seed, 2)
    places = np.random.default_rng(order).permutation(tables[0].shape[1])
    shuffled = candidates_of(candidates.scores[:, places])
    config = configured(fuse=0.7)
    a = combine_scores(candidates, np.stack(tables), config)[:, places]
    b = combine_scores(shuffled, np.stack(tables)[:, :, places], config)
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def refused(scores: Any, others: Any = (), retriever: Any = None, config: LabelConfig = PLAIN, passage_langs: Any = None) -> str:
    tables = np.array([scores, *others], dtype=np.float32)
    candidates = candidates_of(np.zeros((2, 2), dtype=np.float32) if retriever is None else np.array(retriever, dtype=np.float32))
    with pytest.raises((ScoreError, UsageError)) as caught:
        combine_scores(candidates, tables, config, passage_langs)
    return caught.value.message


def test_scores_that_cannot_be_combined_are_named() -> None:
    nan, inf = float("nan"), float("inf")
    assert "'q1' has an infinite score of language model 1" in refused([[0, 1], [inf, 0]])
    assert "'q1' has an infinite score of language model 1" in refused([[0, 1], [0, -inf]])
    assert "'q0' has an infinite score of language model 2, or lacks one" in refused([[0, 1], [0, 1]], [[[0, nan], [0, 1]]])
    assert "'q1' has an infinite score of language model 2, or lacks one" in refused([[0, 1], [0, nan]], [[[0, 1], [0, 1]]])
    assert "'q1' has no scored candidate" in refused([[0, 1], [nan, nan]])
    assert "'q0' has a retriever score that is not finite" in refused([[0, 1], [0, 1]], retriever=[[0, nan], [0, 0]])
    assert "scores are (1, 3, 2), expected [models, 2, 2]" in refused([[0, 1], [0, 1], [0, 1]])


def test_a_correction_without_what_it_needs_is_refused() -> None:
    scores = [[0, 1], [0, 1]]
    average = configured(correct="average")
    assert "a language for every candidate" in refused(scores, config=average)
    assert "a language for every candidate" in refused(scores, config=average, passage_langs=np.zeros((1, 2), dtype=np.int32))
