"""The mining stage: every passage exactly once, restarts, the exact top k, and embeddings that are never another's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tiny
from encoder.counting import Counting
from train.rig import MINE, TRAIN, Notes, contents, encoder_config, labelled, opened
from umr.data.candidates import read_candidates
from umr.data.workspace import Workspace, open_workspace
from umr.encoder import encode as encoding
from umr.encoder.encoder import DualEncoder
from umr.encoder.load import load_encoder
from umr.errors import InputError, MismatchError, ScoreError, UmrError
from umr.mine import mine
from umr.progress import Silent
from umr.train import train

Rows = NDArray[np.uint32]


@pytest.fixture
def work(tmp_path: Path, bert: Path) -> Workspace:
    return opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 13, 7), encoder_config(bert))


def plain_vectors(tower: DualEncoder, texts: list[str]) -> NDArray[np.float64]:
    """One text at a time through transformers: mean of the last layer, length 1."""
    found = []
    for text in texts:
        batch = tower.query.tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        with torch.inference_mode():
            hidden = tower.query.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state[0]
        vector = hidden.double().mean(0)
        found.append((vector / vector.norm()).numpy())
    return np.stack(found)


def test_the_candidates_are_those_of_a_full_sort(work: Workspace, tower: DualEncoder) -> None:
    found = mine(work, MINE)
    rows = np.arange(13, dtype=np.uint32)
    passages = plain_vectors(tower, [f"{title} {text}" if title else text for title, text in work.passages.texts(rows)])
    queries = plain_vectors(tower, work.queries.texts())
    similarities = queries @ passages.T
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(similarities, order, axis=1), rtol=1e-5, atol=1e-5)
    assert found.query_ids == [f"q{i}" for i in range(7)]
    assert found.langs == work.queries.langs
    again = read_candidates(work.layout.round(0).candidates)
    np.testing.assert_array_equal(again.rows, found.rows)
    np.testing.assert_array_equal(again.scores, found.scores)
    run = found.run(work.passages)
    assert run["q0"][0] == (f"p{order[0, 0]}", pytest.approx(similarities[0].max(), abs=1e-5))


def test_the_result_depends_neither_on_threads_nor_on_shards(tmp_path: Path, bert: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "data", 13, 7)
    files = []
    for i, config in enumerate((MINE, replace(MINE, threads=2), replace(MINE, shard_rows=4), replace(MINE, shard_rows=100, threads=3))):
        work = opened(tmp_path / str(i), corpus, encoder_config(bert))
        mine(work, replace(config, batch_tokens=1))  # one text a batch: the vectors themselves are the same
        files.append(work.layout.round(0).candidates.read_bytes())
    assert len(set(files)) == 1


def test_k_beyond_the_corpus_is_refused_before_anything_is_encoded(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    monkeypatch.setattr(encoding, "encode_rows", counting)
    with pytest.raises(InputError, match="top-k is 14, but there are only 13 passages") as caught:
        mine(work, replace(MINE, top_k=14))
    assert caught.value.hint == "use --top-k 13 or less"
    assert not counting.rows
    assert not work.layout.embeddings.exists()
    assert mine(work, replace(MINE, top_k=13)).rows.shape == (7, 13)


def test_round_two_cannot_read_the_vectors_of_round_one(work: Workspace) -> None:
    labelled(work)
    train(work, TRAIN)
    mine(work, MINE)
    manifests = [json.loads(work.layout.round(r).mined.read_text()) for r in (0, 1)]
    for side in ("passage", "query"):
        assert manifests[0][f"{side}_embeddings"] != manifests[1][f"{side}_embeddings"]
        assert manifests[0][f"{side}_weights"] != manifests[1][f"{side}_weights"]
    trained = load_encoder(work.encoder_of(1))
    store = encoding.encode(work.passages, trained, "passage", work.layout, MINE, Silent())
    assert store.folder.name == manifests[1]["passage_embeddings"]
    texts = [f"{title} {text}" if title else text for title, text in work.passages.texts(np.arange(13, dtype=np.uint32))]
    np.testing.assert_allclose(store.read(), plain_vectors(trained, texts), rtol=1e-5, atol=1e-5)


def test_a_vector_that_is_not_finite_is_named(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "encode_rows", Counting(spoiled=8))
    with pytest.raises(ScoreError, match=r"vector of 'p8' \(row 8\) is not finite, 1 such rows in shard 1") as caught:
        mine(work, MINE)
    assert "fp32" in caught.value.hint
    assert not work.layout.round(0).mined.exists()
    monkeypatch.undo()
    mine(work, MINE)


def test_mining_again_does_nothing_and_says_so(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, notes = mine(work, MINE), Notes()
    before = contents(work.layout.folder)
    monkeypatch.setattr("umr.encoder.load.load_encoder", None)
    again = mine(work, replace(MINE, batch_tokens=17, threads=1, device="cpu"), reporter=notes)
    np.testing.assert_array_equal(again.rows, first.rows)
    assert "round 0 is mined already" in notes.text
    assert contents(work.layout.folder) == before


def test_other_options_are_refused_until_forced(work: Workspace) -> None:
    labelled(work)
    train(work, TRAIN)
    with pytest.raises(MismatchError, match="top_k is 6, asked for 5") as caught:
        mine(work, replace(MINE, top_k=5), 0)
    assert "--force" in caught.value.hint
    place = work.layout.round(0)
    assert place.stage == "train"
    assert mine(work, replace(MINE, top_k=5), 0, force=True).rows.shape == (7, 5)
    assert place.stage == "mine"
    assert not place.encoder.exists()


def test_a_work_folder_may_move_and_be_named_otherwise(work: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(work)
    train(work, TRAIN)
    mine(work, MINE)
    monkeypatch.chdir(tmp_path)
    mine(open_workspace(Path("work")), MINE, 1)
    (tmp_path / "work").rename(tmp_path / "moved")
    mine(open_workspace(tmp_path / "moved"), MINE, 1)


def test_a_round_mined_with_an_encoder_that_was_trained_anew_is_refused(work: Workspace) -> None:
    labelled(work)
    train(work, TRAIN)
    mine(work, MINE)
    train(work, replace(TRAIN, seed=3), 0, force=True)
    with pytest.raises(MismatchError, match="round 1 was mined otherwise: encoder"):
        mine(work, MINE, 1)
    mine(work, MINE, 1, force=True)


def test_a_damaged_shard_is_refused_by_name(work: Workspace) -> None:
    mine(work, MINE)
    name = json.loads(work.layout.round(0).mined.read_text())["passage_embeddings"]
    shard = work.layout.embeddings / name / "shard-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(MismatchError, match=r"shard-00001\.npy has changed") as caught:
        mine(work, MINE, force=True)
    assert "remove this shard" in caught.value.hint
    shard.write_bytes(b"")
    with pytest.raises(MismatchError, match=r"shard-00001\.npy has changed"):
        mine(work, MINE, force=True)


def test_half_precision_halves_the_files_and_keeps_the_order_nearly(work: Workspace) -> None:
    full = mine(work, MINE).scores
    half = mine(work, replace(MINE, store="f16"), force=True)
    np.testing.assert_allclose(half.scores, full, atol=2e-3)
    stores = [p for p in work.layout.embeddings.iterdir() if json.loads((p / "manifest.json").read_text())["rows"] == 13]
    sizes = sorted(sum(f.stat().st_size - 128 for f in p.glob("*.npy")) for p in stores)
    assert sizes == [13 * 32 * 2, 13 * 32 * 4]


def test_the_settings_in_use_are_printed(work: Workspace) -> None:
    notes = Notes()
    mine(work, MINE, reporter=notes)
    assert "mean pooling, cosine" in notes.text
    assert "set by you" in notes.text


def test_auto_is_settled_once_and_written_down(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and search read the embeddings again; a second measurement might choose otherwise."""
    mine(work, replace(MINE, precision="auto"))
    written = json.loads(work.layout.round(0).mined.read_text())
    assert written["config"]["precision"] in ("fp32", "bf16")
    assert written["made_from"]["precision"] == "auto"
    mine(work, replace(MINE, precision="auto"))


@pytest.mark.parametrize("round_number", [1, 5, -1])
def test_a_round_that_cannot_exist_yet(work: Workspace, round_number: int) -> None:
    from umr.errors import UmrError

    with pytest.raises(UmrError) as caught:
        mine(work, MINE, round_number)
    assert caught.value.hint


def test_a_removed_shard_alone_is_made_again(work: Workspace) -> None:
    """What the message on a damaged shard promises."""
    first = mine(work, MINE)
    name = json.loads(work.layout.round(0).mined.read_text())["passage_embeddings"]
    shards = sorted((work.layout.embeddings / name).glob("shard-*.npy"))
    whole, others = shards[1].read_bytes(), {path: path.stat().st_mtime_ns for path in shards if path != shards[1]}
    shards[1].unlink()
    again = mine(work, MINE, force=True)
    np.testing.assert_array_equal(again.rows, first.rows)
    np.testing.assert_array_equal(again.scores, first.scores)
    assert shards[1].read_bytes() == whole
    assert {path: path.stat().st_mtime_ns for path in others} == others


def test_a_mining_that_fails_costs_nothing_that_was_finished(work: Workspace) -> None:
    mine(work, MINE)
    labelled(work)
    train(work, TRAIN)
    place = work.layout.round(0)
    for config in (replace(MINE, device="cuda:99"), replace(MINE, top_k=10_000)):
        with pytest.raises(UmrError):
            mine(work, config, 0, force=True)
    assert place.trained.exists()
    assert place.labelled.exists()
    assert (place.encoder / "model.safetensors").exists()


def test_training_with_another_encoder_than_mined_is_refused(work: Workspace) -> None:
    mine(work, MINE)
    labelled(work)
    train(work, TRAIN)
    labelled(work, 1)
    train(work, replace(TRAIN, seed=3), 0, force=True)
    with pytest.raises(MismatchError, match="round 1 was mined otherwise: encoder"):
        train(work, TRAIN, 1)
