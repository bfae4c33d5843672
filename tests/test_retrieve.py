"""Search and retrieval with the encoder of any round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from train.rig import MINE, TRAIN, Notes, encoder_config, labelled, opened
from umr.data.workspace import Workspace
from umr.errors import UsageError
from umr.mine import mine
from umr.retrieve import Which, choose_encoder, encoders, mined_config, retrieve, search
from umr.train import train


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One trained round and the mining of the next."""
    folder = tmp_path_factory.mktemp("retrieve")
    made = opened(folder / "work", tiny.tiny_corpus(folder / "data", 13, 7), encoder_config(tiny.encoder(folder / "bert")))
    labelled(made)
    train(made, TRAIN)
    mine(made, MINE)
    return made


def test_an_encoder_is_named_by_the_round_that_trained_it(work: Workspace) -> None:
    assert encoders(work) == ["first", 0]
    assert (choose_encoder(work, None), choose_encoder(work, "first")) == (0, "first")
    with pytest.raises(UsageError, match="no encoder of round 1") as caught:
        choose_encoder(work, 1)
    assert "first, 0" in caught.value.hint


@pytest.mark.parametrize(("which", "number"), [("first", 0), (0, 1)])
def test_retrieval_finds_what_mining_found_and_encodes_nothing_anew(work: Workspace, which: Which, number: int) -> None:
    notes = Notes()
    found, expected = retrieve(work, work.queries, work.passages, which, 6, "cpu", notes), mine(work, MINE, number)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert notes.text.count("embeddings are there already") == 2


@pytest.mark.parametrize(("which", "number"), [("first", 0), (0, 1)])
def test_a_typed_query_finds_what_the_same_query_mined(work: Workspace, which: Which, number: int) -> None:
    expected = mine(work, MINE, number)
    hits = search(work, work.queries.texts()[2], 3, which=which)
    assert [h.passage_id for h in hits] == work.passages.ids(expected.rows[2, :3])
    assert [h.rank for h in hits] == [1, 2, 3]
    assert [h.score for h in hits] == pytest.approx(expected.scores[2, :3].tolist(), abs=1e-5)
    assert [(h.title, h.text) for h in hits] == work.passages.texts(expected.rows[2, :3])


def test_more_than_the_corpus_holds_is_the_corpus(work: Workspace) -> None:
    assert len(search(work, "the river", 99, "en")) == 13
    assert mined_config(work, 4).shard_rows == MINE.shard_rows


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_refused(work: Workspace, query: str) -> None:
    with pytest.raises(UsageError, match="query is empty") as caught:
        search(work, query)
    assert "umr search" in caught.value.hint


def test_a_work_folder_that_was_never_mined_can_be_searched(tmp_path: Path, work: Workspace) -> None:
    fresh = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 5, 2), work.encoder)
    assert len(search(fresh, "the river", 2, "en")) == 2


def test_the_index_of_the_mining_is_used_unless_another_is_asked_for(tmp_path: Path, work: Workspace) -> None:
    near = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 13, 7), work.encoder)
    mined = mine(near, replace(MINE, index="hnsw"), 0)
    assert mined_config(near, 4).index == "hnsw"
    assert mined_config(near, 4, index="exact").index == "exact"
    notes, silent = Notes(), Notes()
    query = near.queries.texts()[2]
    hits = search(near, query, 3, reporter=notes)
    assert [h.passage_id for h in hits] == near.passages.ids(mined.rows[2, :3])
    assert "recall@6" in notes.text
    assert [h.passage_id for h in search(near, query, 3, reporter=silent, index="exact")] == [h.passage_id for h in hits]
    assert "recall" not in silent.text
    found = retrieve(near, near.queries, near.passages, "first", 6, "cpu", notes, index=None)
    np.testing.assert_array_equal(found.rows, mined.rows)
    retrieve(near, near.queries, near.passages, "first", 6, "cpu", silent)
    assert notes.text.count("recall@6") == 2
    assert "recall" not in silent.text
    np.testing.assert_array_equal(retrieve(near, near.queries, near.passages, "first", 6, "cpu").scores, mined.scores)
