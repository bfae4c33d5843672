"""Training batches against their twin of dictionaries, and the split that holds queries out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import batches as twin
from umr.config import Duplicates, TrainConfig
from umr.data.candidates import Candidates
from umr.data.labels import Labels
from umr.label.combine import normalise
from umr.train.batches import batch_at, clearest, make_batch, split_queries, steps_an_epoch

DUPLICATES: tuple[Duplicates, ...] = ("merge", "keep")


def labels_of(queries: int, k: int, passages: int, seed: int = 0) -> Labels:
    """Random candidates (each passage once a query) with labels."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(passages)[:k] for _ in range(queries)]).astype(np.uint32)
    scores = rng.normal(size=rows.shape).astype(np.float32)
    return Labels(Candidates([f"q{i}" for i in range(queries)], ["en"] * queries, rows, scores), scores, normalise(scores, 0.1))


@settings(deadline=None)
@given(
    st.sampled_from(DUPLICATES),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 4),
    st.integers(1, 8),
    st.integers(0, 2**40),
    st.integers(0, 99),
)
def test_a_batch_equals_its_twin(duplicates: Duplicates, queries: int, k: int, more: int, c: int, step: int, seed: int) -> None:
    labels = labels_of(queries + 2, k, k + more, seed)
    config = TrainConfig(passages_per_query=c, duplicates=duplicates, seed=seed)
    chosen = np.random.default_rng(seed).permutation(queries + 2)[:queries].astype(np.uint32)
    batch = make_batch(labels, chosen, config, step)
    passages, matrix = twin.make_batch(labels, chosen.tolist(), config, step)
    assert batch.queries.tolist() == chosen.tolist()
    assert batch.passages.tolist() == passages
    np.testing.assert_array_equal(batch.labels, np.array(matrix, dtype=np.float32))


def test_merged_duplicates_carry_their_label_wherever_there_is_one() -> None:
    """Both questions mined passage 0: in the paper's code it is no mass for the one that did not draw it."""
    labels = labels_of(2, 4, 4)
    merged = make_batch(labels, np.arange(2, dtype=np.uint32), TrainConfig(passages_per_query=2, duplicates="merge"), 0)
    assert np.isfinite(merged.labels).all()
    assert len(set(merged.passages.tolist())) == len(merged.passages)
    kept = make_batch(labels, np.arange(2, dtype=np.uint32), TrainConfig(passages_per_query=2, duplicates="keep"), 0)
    assert len(kept.passages) == 4
    assert np.isfinite(kept.labels).sum(axis=1).tolist() == [2, 2]


@given(st.integers(1, 200), st.floats(0, 0.99), st.integers(0, 1000))
def test_the_split_holds_every_query_once(count: int, share: float, seed: int) -> None:
    split = split_queries(np.ones(count, dtype=np.bool_), share, seed)
    assert sorted([*split.training.tolist(), *split.held_out.tolist()]) == list(range(count))
    assert len(split.training) >= 1
    expected = 0 if share == 0 else min(count - 1, max(1, round(share * count)))
    assert len(split.held_out) == expected


@given(st.integers(1, 30), st.integers(1, 5), st.floats(0, 0.99), st.integers(0, 999))
def test_the_clearest_queries_are_kept(count: int, k: int, drop: float, seed: int) -> None:
    """The definition, one query at a time: by best less mean, of equal ones the earlier."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 0, size=(count, k)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    usable = ~np.isnan(scores).all(axis=1)
    margins = {q: max(own) - sum(own) / len(own) for q in range(count) if (own := [float(s) for s in scores[q] if not np.isnan(s)])}
    order = sorted(margins, key=lambda q: (-margins[q], q))
    wanted = order[: max(1, round((1 - drop) * len(order)))] if drop else order
    assert np.flatnonzero(clearest(scores, usable, drop)).tolist() == sorted(wanted)


def test_an_epoch_uses_every_training_query_at_most_once_and_every_epoch_another_order() -> None:
    labels = labels_of(23, 5, 30)
    training = split_queries(np.ones(23, dtype=np.bool_), 0.1, 4).training
    config = TrainConfig(batch_size=4, passages_per_query=3, seed=4)
    steps = steps_an_epoch(len(training), 4)
    assert steps == len(training) // 4
    epochs = [[q for s in range(steps) for q in batch_at(labels, training, config, e * steps + s).queries.tolist()] for e in range(3)]
    for order in epochs:
        assert len(set(order)) == len(order) == steps * 4
        assert set(order) <= set(training.tolist())
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_step_draws_other_candidates_than_the_one_before() -> None:
    labels = labels_of(4, 30, 60)
    draws = [
        make_batch(labels, np.arange(4, dtype=np.uint32), TrainConfig(passages_per_query=5, duplicates="keep"), s).passages.tolist()
        for s in (0, 1, 0)
    ]
    assert draws[0] == draws[2] != draws[1]


def test_fewer_queries_than_a_batch_make_one_step() -> None:
    assert steps_an_epoch(3, 16) == 1
    labels = labels_of(3, 5, 9)
    batch = batch_at(labels, np.arange(3, dtype=np.uint32), TrainConfig(batch_size=16), 5)
    assert sorted(batch.queries.tolist()) == [0, 1, 2]


def test_labels_are_a_distribution_that_falls_off_with_the_temperature() -> None:
    scores = np.array([[-1.0, -2.0, -4.0], [-300.0, 0.0, -300.0]], dtype=np.float32)
    found = normalise(scores, 0.5)
    np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(axis=1), 1, rtol=1e-6)
    assert found[0, 0] - found[0, 1] == pytest.approx(1.0 / 0.5)
    assert found[1, 1] == pytest.approx(0.0)
    assert math.isfinite(found.min())
