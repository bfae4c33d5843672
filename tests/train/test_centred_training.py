"""Training in a centred space: the student is compared where the round was mined, and is saved with the means that it learned with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tiny
import umr
from train.rig import MINE, TRAIN, encoder_config, labelled, opened
from umr.config import MineConfig, TrainConfig
from umr.data.labels import labels_of
from umr.data.workspace import Workspace
from umr.encoder.centre import means_for, passage_vectors, query_vectors
from umr.encoder.encoder import DualEncoder
from umr.encoder.load import load_encoder
from umr.errors import MismatchError
from umr.mine import mine
from umr.progress import Silent
from umr.train import train
from umr.train.batches import make_batch
from umr.train.distillation import VALIDATION, Objective
from umr.train.encoders import prepare
from umr.train.losses import distillation_loss

Vectors = NDArray[np.float32]
ONE = replace(TRAIN, epochs=1, evaluations=1)


@pytest.fixture
def work(tmp_path: Path, bert: Path) -> Workspace:
    corpus = tiny.tiny_corpus(tmp_path / "data", 60, 54, langs=("en", "zh", "ru"))
    return opened(tmp_path / "work", corpus, encoder_config(bert, query_prefix="query: ", passage_prefix="passage: "))


def vectors_of(work: Workspace, encoder: DualEncoder, mined: MineConfig) -> tuple[Vectors, Vectors]:
    """Query and passage vectors as mining and retrieval get them."""
    means = means_for(work.passages, work.queries, encoder, work.layout, mined, Silent())
    stored = passage_vectors(work.passages, encoder, work.layout, mined, Silent(), means)
    return query_vectors(work.queries, encoder, work.layout, mined, Silent(), means), stored.read()


@pytest.mark.parametrize("freeze", ["none", "passages", "queries"])
@pytest.mark.parametrize(("centre", "whiten"), [("off", 0.0), ("global", 0.0), ("language", 0.0), ("global", 0.5), ("language", 1.0)])
def test_the_loss_is_that_of_the_mined_vectors(work: Workspace, centre: Any, whiten: float, freeze: Any) -> None:
    mined = replace(MINE, centre=centre, whiten=whiten)
    labelled(work, mining=mined)
    place, config = work.layout.round(0), TrainConfig(batch_size=54, passages_per_query=6, freeze=freeze, student_temperature=0.1)
    encoder, labels = load_encoder(work.encoder_of(0)), labels_of(place)
    encoders = prepare(work, encoder, config, mined, Silent())
    everything = np.arange(54, dtype=np.uint32)
    found = Objective(encoders, config, "fp32").validation(labels, everything).loss
    batch = make_batch(labels, everything, config, VALIDATION)
    queries, passages = vectors_of(work, encoder, mined)
    similarities = torch.from_numpy(queries[batch.queries] @ passages[batch.passages].T)
    assert found == pytest.approx(distillation_loss(similarities, torch.from_numpy(batch.labels), 0.1, "in-batch").item(), rel=1e-4)


def theirs(folder: Path, side: str, texts: Sequence[str]) -> Vectors:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / side), device="cpu")
    return np.asarray(model.encode(list(texts), prompt_name=side, batch_size=7, show_progress_bar=False))


@pytest.mark.parametrize(("freeze", "whiten"), [("none", 0.0), ("passages", 0.0), ("none", 0.5)])
def test_the_trained_folder_gives_what_the_next_round_mines_with(work: Workspace, freeze: Any, whiten: float) -> None:
    mined = replace(MINE, centre="global", whiten=whiten)
    labelled(work, mining=mined)
    train(work, replace(ONE, freeze=freeze))
    mine(work, mined)
    first, second = (json.loads(work.layout.round(r).mined.read_text()) for r in (0, 1))
    assert second["means"] == second["own_means"]
    assert (first["means"] == second["means"]) == (freeze == "none"), "of the moved queries, where the passages' vectors are there"
    assert first["query_weights"] != second["query_weights"]
    assert (first["passage_weights"] == second["passage_weights"]) == (freeze == "passages")
    encoder = load_encoder(work.encoder_of(1))
    assert encoder.means is not None
    assert encoder.tied == (freeze == "none")
    if freeze == "passages":
        raw = encoder.encode(work.queries.texts(), "query").astype(np.float64)
        np.testing.assert_allclose(encoder.means.queries.table[0], raw.mean(axis=0), atol=1e-6)
    queries, passages = vectors_of(work, encoder, mined)
    folder, rows = work.layout.round(0).encoder, np.arange(60, dtype=np.uint32)
    np.testing.assert_allclose(theirs(folder, "query", work.queries.texts()), queries, rtol=1e-5, atol=2e-6)
    texts = [f"{title} {text}" if title else text for title, text in work.passages.texts(rows)]
    np.testing.assert_allclose(theirs(folder, "passage", texts), passages, rtol=1e-5, atol=2e-6)
    labelled(work, 1, mining=mined)
    train(work, replace(ONE, freeze=freeze))  # and it can be trained on
    again = load_encoder(work.encoder_of(2))
    assert again.means is not None
    assert (again.means.fingerprint == first["means"]) == (freeze == "none")


@pytest.mark.parametrize("whiten", [0.0, 0.5])
def test_the_means_of_trainings_are_averaged_with_their_weights(work: Workspace, tmp_path: Path, whiten: float) -> None:
    """Of two seeds, whose queries have moved apart; the means of the passages are those of both."""
    labelled(work, mining=replace(MINE, centre="global", whiten=whiten))
    folders = []
    for seed in (0, 1):
        folders.append(tmp_path / f"seed {seed}")
        shutil.copytree(train(work, replace(ONE, seed=seed, freeze="passages"), force=True), folders[-1])
    first, second, found = (load_encoder(str(one)).means for one in (*folders, umr.average_encoders(folders, tmp_path / "average")))
    assert first is not None
    assert second is not None
    assert found is not None
    assert len({first.fingerprint, second.fingerprint, found.fingerprint}) == 3
    np.testing.assert_allclose(found.queries.table, (first.queries.table + second.queries.table) / 2, atol=1e-6)
    np.testing.assert_array_equal(found.passages.table, first.passages.table)
    for one in (first, second, found):
        assert (one.whitening is None) == (not whiten)
    if first.whitening is not None and second.whitening is not None:
        np.testing.assert_allclose(found.whitening, (first.whitening + second.whitening) / 2, atol=1e-6)


def test_by_language_the_next_round_uses_the_same_means(work: Workspace) -> None:
    mined = replace(MINE, centre="language")
    labelled(work, mining=mined)
    train(work, ONE)
    mine(work, mined)
    first, second = (json.loads(work.layout.round(r).mined.read_text()) for r in (0, 1))
    assert first["means"] == second["means"] == second["own_means"]
    assert load_encoder(work.encoder_of(1)).tied


def test_a_round_that_was_centred_with_other_means_is_not_trained_on(work: Workspace) -> None:
    labelled(work, mining=replace(MINE, centre="global"))
    path = work.layout.round(0).mined
    tiny.change_manifest(path, means="0" * 64)
    with pytest.raises(MismatchError, match="round 0 was mined otherwise: means") as caught:
        train(work, ONE)
    assert caught.value.hint
