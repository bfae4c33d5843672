"""Labels of candidates that were not all scored: normalised, kept on disk, and never drawn for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet

import tiny
from reference import batches as twin
from reference import labels as slow
from umr.config import Duplicates, LabelConfig, TrainConfig
from umr.data.candidates import Candidates
from umr.data.labels import Labels, read_labels
from umr.data.table import read_columns, write_blocks
from umr.errors import FormatError
from umr.label.combine import make_labels, normalise
from umr.train.batches import batch_at, make_batch

NAN, INF = float("nan"), float("inf")
SEEDS = st.integers(0, 2**32 - 1)


def with_gaps(rng: np.random.Generator, queries: int, k: int, share: float) -> NDArray[np.float32]:
    """Scores [Q, k] with NaN here and there, at least one score a row."""
    scores = rng.normal(-3, 1, (queries, k)).astype(np.float32)
    keep = rng.integers(0, k, queries)
    scores[(rng.random(scores.shape) < share) & (np.arange(k) != keep[:, None])] = np.nan
    return scores


def labels_of(seed: int, queries: int, k: int, share: float, passages: int = 20) -> Labels:
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(passages)[:k] for _ in range(queries)]).astype(np.uint32)
    scores = with_gaps(rng, queries, k, share)
    return Labels(
        Candidates([f"q{i}" for i in range(queries)], ["en"] * queries, rows, np.zeros(rows.shape, dtype=np.float32)),
        scores,
        normalise(scores, 0.1),
    )


@given(SEEDS, st.floats(0.01, 10))
def test_labels_equal_the_loop_and_what_is_kept_sums_to_one(seed: int, temperature: float) -> None:
    scores = with_gaps(np.random.default_rng(seed), 3, 7, 0.5)
    found = normalise(scores, temperature)
    np.testing.assert_allclose(found, np.array(slow.labels(scores.tolist(), temperature)), rtol=1e-5, atol=1e-5)
    assert (np.isneginf(found) == np.isnan(scores)).all()
    np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(axis=1), 1, atol=1e-5)


@given(SEEDS)
def test_a_gap_is_as_if_the_candidate_were_not_there(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(-3, 1, (4, 6)).astype(np.float32)
    screened = np.where(np.arange(6) < 4, scores, np.nan).astype(np.float32)
    np.testing.assert_allclose(normalise(screened, 0.1)[:, :4], normalise(scores[:, :4], 0.1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("config", [LabelConfig("lm"), LabelConfig("lm", fuse=1.0, temperature=0.5)])
def test_gaps_and_combined_scores_come_back(tmp_path: Path, config: LabelConfig) -> None:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus", queries=5))
    candidates = tiny.mined(work, 6)
    made = make_labels(candidates, with_gaps(np.random.default_rng(3), 5, 6, 0.4)[None], config)
    path = tmp_path / "labels.parquet"
    made.write(path, work.passages)
    found = read_labels(path)
    assert found.scores.tobytes() == made.scores.tobytes()
    assert found.labels.tobytes() == made.labels.tobytes()
    names = parquet.read_schema(path).names
    if config.fuse:
        assert made.combined is not None
        assert found.combined is not None
        assert found.combined.tobytes() == made.combined.tobytes()
        assert found.labels.tobytes() == normalise(found.combined, config.temperature).tobytes()
        assert names[-3:] == ["score", "label", "combined"]
    else:
        assert found.combined is None
        assert names[-2:] == ["score", "label"]


COLUMNS = {
    "query_id": ["a", "a", "b", "b"], "lang": ["en"] * 4, "rank": [1, 2, 1, 2],
    "passage_row": np.array([3, 1, 0, 2], dtype=np.uint32), "retriever_score": np.array([1, 0, 1, 0], dtype=np.float32),
}  # fmt: skip


@pytest.mark.parametrize(
    ("score", "label", "combined", "whole"),
    [
        ((-1, NAN), (0, -INF), None, True),
        ((-1, NAN), (0, -INF), (-1, NAN), True),
        ((-1, -2), (-0.3, -1.3), (-1, -2), True),
        ((-1, NAN), (0, -9), None, False),
        ((-1, NAN), (0, NAN), None, False),
        ((-1, -2), (0, -INF), None, False),
        ((-1, INF), (0, -INF), None, False),
        ((-1, -INF), (0, -INF), None, False),
        ((-1, NAN), (0, INF), None, False),
        ((-1, NAN), (0, -INF), (-1, -2), False),
        ((-1, -2), (-0.3, -1.3), (-1, NAN), False),
        ((-1, -2), (-0.3, -1.3), (-1, INF), False),
        ((NAN, NAN), (-INF, -INF), None, False),
    ],
)
def test_only_a_missing_score_goes_with_no_label(
    tmp_path: Path, score: tuple[float, float], label: tuple[float, float], combined: tuple[float, float] | None, whole: bool
) -> None:
    path = tmp_path / "labels.parquet"
    flat = {"score": [-1, -1, *score], "label": [-0.7, -0.7, *label]} | ({"combined": [-1, -1, *combined]} if combined else {})
    write_blocks(path, [COLUMNS | {name: np.array(values, dtype=np.float32) for name, values in flat.items()}])
    if whole:
        np.testing.assert_array_equal(read_labels(path).labels[1], np.array(label, dtype=np.float32))
        return
    with pytest.raises(FormatError, match="query 'b' is not finite") as caught:
        read_labels(path)
    assert str(path) in caught.value.message


def test_other_tools_read_a_gap_as_not_a_number(tmp_path: Path) -> None:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus", queries=2))
    candidates = tiny.mined(work, 2)
    scores = np.array([[-1, NAN], [-2, -3]], dtype=np.float32)
    make_labels(candidates, scores[None], LabelConfig("lm")).write(tmp_path / "labels.parquet", work.passages)
    table = read_columns(tmp_path / "labels.parquet", ("score", "label"))
    assert (table["score"].dtype, table["label"].dtype) == (np.float32, np.float32)
    assert np.isnan(table["score"]).tolist() == [False, True, False, False]
    assert table["label"].tolist()[:2] == [0.0, -INF]


DUPLICATES: tuple[Duplicates, ...] = ("merge", "keep")


@given(st.sampled_from(DUPLICATES), SEEDS, st.integers(1, 8), st.sampled_from([0.0, 0.3, 0.9]), st.integers(0, 2**40))
def test_a_batch_equals_its_twin_and_draws_scored_candidates_only(
    duplicates: Duplicates, seed: int, c: int, share: float, step: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = labels_of(seed, 5, int(rng.integers(1, 8)), share)
    config = TrainConfig(passages_per_query=c, duplicates=duplicates, seed=seed % 1000)
    chosen = rng.permutation(5)[:3].astype(np.uint32)
    batch = make_batch(labels, chosen, config, step)
    passages, matrix = twin.make_batch(labels, chosen.tolist(), config, step)
    assert batch.passages.tolist() == passages
    np.testing.assert_array_equal(batch.labels, np.array(matrix, dtype=np.float32))
    scored = {int(p) for q in chosen for p, label in zip(labels.candidates.rows[q], labels.labels[q], strict=True) if np.isfinite(label)}
    assert set(passages) <= scored
    assert np.isfinite(batch.labels).any(axis=1).all()


@given(SEEDS, st.integers(0, 1000))
def test_duplicates_that_are_kept_never_repeat_a_querys_own_candidate(seed: int, step: int) -> None:
    labels = labels_of(seed, 6, 7, 0.5)
    batch = make_batch(labels, np.arange(6, dtype=np.uint32), TrainConfig(passages_per_query=5, duplicates="keep"), step)
    for own in batch.passages.reshape(6, -1).tolist():
        assert len(set(own)) == len(own)


@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_screening_a_round_leaves_the_batches_of_its_best_candidates(duplicates: Duplicates) -> None:
    """k candidates of which the first m are scored make the very batches of a round with m candidates."""
    whole = labels_of(1, 9, 4, 0.0)
    config = TrainConfig(batch_size=3, passages_per_query=2, duplicates=duplicates)
    more = np.concatenate([whole.candidates.rows, np.full((9, 3), 10**6, dtype=np.uint32) + np.arange(3, dtype=np.uint32)], axis=1)
    scores = np.concatenate([whole.scores, np.full((9, 3), np.nan, dtype=np.float32)], axis=1)
    candidates = Candidates(whole.candidates.query_ids, whole.candidates.langs, more, np.zeros(more.shape, dtype=np.float32))
    screened = Labels(candidates, scores, normalise(scores, 0.1))
    training = np.arange(9, dtype=np.uint32)
    for step in range(7):
        a, b = batch_at(whole, training, config, step), batch_at(screened, training, config, step)
        assert (a.queries.tolist(), a.passages.tolist()) == (b.queries.tolist(), b.passages.tolist())
        np.testing.assert_allclose(a.labels, b.labels, rtol=1e-6, atol=1e-6)
