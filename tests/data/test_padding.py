"""Lists that are shorter than k: a padded place has no score and no label; a query without candidates is passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from reference import batches as twin
from reference import labels as slow_labels
from umr.config import LabelConfig, TrainConfig
from umr.data.candidates import PADDING, Candidates, Provenance, read_candidates
from umr.data.labels import Labels, read_labels
from umr.errors import FormatError, ScoreError
from umr.label.combine import combine_scores, make_labels, normalise
from umr.train.batches import batch_at, split_queries

SEEDS = st.integers(0, 2**32 - 1)


def padded(seed: int, queries: int = 6, k: int = 5, passages: int = 12) -> tuple[Candidates, np.ndarray]:
    """Candidates of which some queries have fewer, the second none, and scores [Q, k] float32 with NaN where padded."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, k + 1, queries)
    sizes[1] = 0
    short = np.arange(k) >= sizes[:, None]
    rows = np.stack([rng.permutation(passages)[:k] for _ in range(queries)]).astype(np.uint32)
    scores = -np.sort(-rng.random((queries, k)).astype(np.float32), axis=1)
    rows[short], scores[short] = PADDING, -np.inf
    nats = rng.normal(-3, 1, (queries, k)).astype(np.float32)
    nats[short] = np.nan
    langs = ["en", "de", "ru", "ar", "zh", "en"]
    return Candidates([f"q{i}" for i in range(queries)], langs[:queries], rows, scores), nats


@given(SEEDS)
def test_labels_of_short_lists_are_those_of_what_is_there(seed: int) -> None:
    candidates, scores = padded(seed)
    found = normalise(scores, 0.5)
    for query, there in enumerate(candidates.present):
        assert np.isneginf(found[query, ~there]).all()
        if there.any():
            expected = slow_labels.labels([scores[query, there].tolist()], 0.5)[0]
            np.testing.assert_allclose(found[query, there], np.array(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("correct", ["none", "average"])
@given(seed=SEEDS, fuse=st.sampled_from([0.0, 0.7]))
def test_combining_takes_no_notice_of_padding(seed: int, fuse: float, correct: str) -> None:
    candidates, scores = padded(seed)
    rng = np.random.default_rng(seed)
    other = np.where(np.isnan(scores), np.nan, rng.normal(-2, 1, scores.shape)).astype(np.float32)
    langs, both = rng.integers(0, 3, scores.shape), np.stack([scores, other])
    config = LabelConfig("lm", fuse=fuse, correct=correct)  # type: ignore[arg-type]
    found = combine_scores(candidates, both, config, langs)
    np.testing.assert_array_equal(np.isnan(found), ~candidates.present)
    keep = candidates.present.any(axis=1)
    some = Candidates(
        [q for q, k in zip(candidates.query_ids, keep, strict=True) if k], [q for q, k in zip(candidates.langs, keep, strict=True) if k],
        candidates.rows[keep], candidates.scores[keep],
    )  # fmt: skip
    alone = combine_scores(some, both[:, keep], config, langs[keep])
    np.testing.assert_allclose(found[keep], alone, rtol=1e-5, atol=1e-5)
    moved = np.where(candidates.present, langs, 2)  # what stands in a padded place means nothing
    again = combine_scores(candidates, both, config, moved)
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-5)


def test_a_padded_place_with_a_score_and_a_candidate_without_any_are_refused() -> None:
    candidates, scores = padded(0)
    config = LabelConfig("lm")
    wrong = scores.copy()
    wrong[1, 0] = -1
    with pytest.raises(ScoreError, match="query 'q1' has a score where it has no candidate"):
        combine_scores(candidates, wrong[None], config)
    wrong = scores.copy()
    wrong[0] = np.nan
    with pytest.raises(ScoreError, match="query 'q0' has no scored candidate"):
        combine_scores(candidates, wrong[None], config)


@given(SEEDS)
def test_files_of_short_lists_come_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("padded")
    work = tiny.workspace(folder / "work", tiny.tiny_corpus(folder / "corpus"))
    candidates, scores = padded(seed)
    shape = (2, *candidates.rows.shape)
    ranks = np.where(candidates.present, np.random.default_rng(seed).integers(0, 4, shape), 0).astype(np.uint32)
    kept = Candidates(
        candidates.query_ids, candidates.langs, candidates.rows, candidates.scores,
        Provenance(("encoder", "bm25"), ranks, np.where(ranks > 0, np.float32(1.5), np.float32(np.nan))),
    )  # fmt: skip
    kept.write(folder / "candidates.parquet", work.passages)
    found = read_candidates(folder / "candidates.parquet")
    assert (found.rows.tobytes(), found.scores.tobytes()) == (kept.rows.tobytes(), kept.scores.tobytes())
    assert found.provenance is not None
    assert found.provenance.names == ("encoder", "bm25")
    np.testing.assert_array_equal(found.provenance.ranks, ranks)
    np.testing.assert_array_equal(np.isnan(found.provenance.scores), ranks == 0)
    made = make_labels(candidates, scores[None], LabelConfig("lm"))
    made.write(folder / "labels.parquet", work.passages)
    back = read_labels(folder / "labels.parquet")
    assert (back.labels.tobytes(), back.candidates.rows.tobytes()) == (made.labels.tobytes(), candidates.rows.tobytes())
    run = found.run(work.passages)
    assert list(run) == kept.query_ids
    assert [len(ranking) for ranking in run.values()] == candidates.present.sum(axis=1).tolist()


def test_a_label_in_a_padded_place_is_refused(tmp_path: Path) -> None:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    candidates, scores = padded(3)
    labels = normalise(scores, 0.1)
    scores[1, 4], labels[1, 4] = -1, 0
    Labels(candidates, scores, labels).write(tmp_path / "labels.parquet", work.passages)
    with pytest.raises(FormatError, match="query 'q1' is not finite"):
        read_labels(tmp_path / "labels.parquet")


@given(SEEDS, st.sampled_from(["merge", "keep"]), st.integers(0, 1000))
def test_no_padded_place_is_drawn_and_no_query_without_candidates(seed: int, duplicates: str, step: int) -> None:
    candidates, scores = padded(seed)
    labels = Labels(candidates, scores, normalise(scores, 0.1))
    usable = np.isfinite(labels.labels).any(axis=1)
    split = split_queries(usable, 0.2, seed % 1000)
    assert sorted([*split.training, *split.held_out]) == [0, 2, 3, 4, 5]
    config = TrainConfig(batch_size=2, passages_per_query=3, duplicates=duplicates, seed=seed % 1000)  # type: ignore[arg-type]
    batch = batch_at(labels, split.training, config, step)
    assert 1 not in batch.queries
    assert PADDING not in batch.passages
    assert np.isfinite(batch.labels).any(axis=1).all()
    passages, matrix = twin.make_batch(labels, batch.queries.tolist(), config, step)
    assert batch.passages.tolist() == passages
    np.testing.assert_array_equal(batch.labels, np.array(matrix, dtype=np.float32))
