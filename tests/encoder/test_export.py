"""Saved encoders: sentence-transformers and transformers load them as they are and give our vectors to 1e-5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tiny
from train.rig import encoder_config
from umr._rust import Records
from umr.config import EncoderConfig, MineConfig
from umr.encoder.encode import encode
from umr.encoder.encoder import DualEncoder, Side
from umr.encoder.export import save_encoder
from umr.encoder.load import load_encoder
from umr.layout import WorkLayout
from umr.progress import Silent

PASSAGES = [
    ("river city", "the old bridge built by the king of the north"),
    ("", "король построил мост"),
    ("城市", "古老桥梁"),
    ("mountain", "the " * 80),
]
QUERIES = ["who built the old bridge?", "король мост", "城市", "winter song"]
Vectors = NDArray[np.float32]


def passages_file(folder: Path, passages: Sequence[tuple[str, str]] = PASSAGES) -> Records:
    path = folder / "passages.tsv"
    path.write_text("id\ttext\ttitle\n" + "".join(f"p{i}\t{text}\t{title}\n" for i, (title, text) in enumerate(passages)))
    return Records.open([str(path)], "passages", str(folder / "cache"))


def ours(encoder: DualEncoder, side: Side, folder: Path) -> Vectors:
    """Vectors of PASSAGES or QUERIES through umr's own path: token store, batches, shards."""
    records = (
        passages_file(folder)
        if side == "passage"
        else Records.from_texts([f"q{i}" for i in range(len(QUERIES))], QUERIES, ["en"] * len(QUERIES))
    )
    return encode(records, encoder, side, WorkLayout(folder / "work"), MineConfig(batch_tokens=100), Silent()).read()


def theirs(folder: Path, prompt: str, texts: Sequence[str]) -> Vectors:
    """Vectors of sentence-transformers from a saved folder."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return np.asarray(model.encode(list(texts), prompt_name=prompt, batch_size=3, show_progress_bar=False))


def joined(title: str, separator: str) -> list[str]:
    return [f"{t}{separator}{text}" if t and title != "none" else text for t, text in PASSAGES]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny.encoder(folder / "right", seed=1), tiny.encoder(folder / "left", seed=2, padding_side="left")


@pytest.mark.parametrize("left", [False, True], ids=["right-padded", "left-padded"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_sentence_transformers_gives_the_same_vectors(
    models: tuple[Path, Path], tmp_path: Path, pooling: Any, similarity: Any, left: bool
) -> None:
    config = encoder_config(models[left], pooling=pooling, similarity=similarity, query_prefix="query: ", passage_prefix="passage: ")
    encoder = load_encoder(config)
    save_encoder(encoder, tmp_path / "saved")
    for side, texts in (("query", QUERIES), ("passage", joined("text", " "))):
        mine = ours(encoder, side, tmp_path)  # type: ignore[arg-type]
        np.testing.assert_allclose(theirs(tmp_path / "saved", side, texts), mine, rtol=1e-5, atol=1e-5)
        assert np.abs(mine).max() > 1e-2
    if similarity == "cosine":
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, rtol=1e-6)
    again = load_encoder(EncoderConfig(model=str(tmp_path / "saved")))
    assert again.query.settings == encoder.query.settings
    np.testing.assert_array_equal(ours(again, "passage", tmp_path), ours(encoder, "passage", tmp_path))


@pytest.mark.parametrize(("title", "separator"), [("text", " "), ("pair", " [SEP] "), ("none", "")])
def test_a_title_enters_as_it_is_said(models: tuple[Path, Path], tmp_path: Path, title: Any, separator: str) -> None:
    """A pair has token types of zero alone, so that the text `title [SEP] text` gives its vector in any library."""
    encoder = load_encoder(encoder_config(models[0], title=title))
    save_encoder(encoder, tmp_path / "saved")
    found = ours(encoder, "passage", tmp_path)
    short = [i for i, (t, text) in enumerate(PASSAGES) if len(text) < 100]
    np.testing.assert_allclose(theirs(tmp_path / "saved", "passage", joined(title, separator))[short], found[short], rtol=1e-5, atol=1e-5)


def test_titles_make_a_difference(models: tuple[Path, Path], tmp_path: Path) -> None:
    titles: tuple[Any, ...] = ("text", "pair", "none")
    found = [ours(load_encoder(encoder_config(models[0], title=t)), "passage", tmp_path)[0] for t in titles]
    assert min(np.abs(found[a] - found[b]).max() for a, b in ((0, 1), (1, 2), (0, 2))) > 1e-3


def test_two_encoders_are_two_folders_each_loadable_alone(models: tuple[Path, Path], tmp_path: Path) -> None:
    config = encoder_config(models[0], passage_model=str(models[1]), query_length=8, passage_length=60)
    encoder = load_encoder(config)
    assert not encoder.tied
    save_encoder(encoder, tmp_path / "saved")
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == ["passage", "query"]
    both = load_encoder(EncoderConfig(model=str(tmp_path / "saved")))
    assert not both.tied
    assert both.query.fingerprint == encoder.query.fingerprint != encoder.passage.fingerprint == both.passage.fingerprint
    for side, texts in (("query", [q + " the river" * 9 for q in QUERIES]), ("passage", joined("text", " "))):
        alone = load_encoder(EncoderConfig(model=str(tmp_path / "saved" / side)))
        assert alone.tied
        if side == "passage":
            np.testing.assert_allclose(
                theirs(tmp_path / "saved" / side, side, texts), ours(encoder, "passage", tmp_path), rtol=1e-5, atol=1e-5
            )
        else:  # cut at the queries' own length in both
            cut = alone.query.tokenizer(texts, max_length=8, truncation=True, padding=True, return_tensors="pt")
            with torch.inference_mode():
                expected = alone.query(cut["input_ids"], cut["attention_mask"]).numpy()
            np.testing.assert_allclose(theirs(tmp_path / "saved" / side, side, texts), expected, rtol=1e-5, atol=1e-5)


def test_transformers_loads_the_very_weights(models: tuple[Path, Path], tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    encoder = load_encoder(encoder_config(models[0]))
    save_encoder(encoder, tmp_path / "saved")
    plain, tokenizer = AutoModel.from_pretrained(tmp_path / "saved").eval(), AutoTokenizer.from_pretrained(tmp_path / "saved")
    state = encoder.query.model.state_dict()
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in state.items())
    batch = tokenizer(QUERIES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = plain(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        expected = torch.nn.functional.normalize(
            torch.stack([h[m.bool()].mean(0) for h, m in zip(hidden, batch["attention_mask"], strict=True)])
        )
    np.testing.assert_allclose(ours(encoder, "query", tmp_path), expected.numpy(), rtol=1e-5, atol=1e-5)


def test_a_saved_encoder_replaces_the_old_one_whole(models: tuple[Path, Path], tmp_path: Path) -> None:
    encoder = load_encoder(encoder_config(models[0]))
    save_encoder(replace(encoder, query=load_encoder(encoder_config(models[1])).query), tmp_path / "saved")
    save_encoder(encoder, tmp_path / "saved")
    assert not (tmp_path / "saved" / "query").exists()
    assert (tmp_path / "saved" / "modules.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]


def test_the_fingerprint_is_of_the_weights_not_of_the_files(models: tuple[Path, Path], tmp_path: Path) -> None:
    encoder = load_encoder(encoder_config(models[0]))
    save_encoder(encoder, tmp_path / "saved")
    assert load_encoder(EncoderConfig(model=str(tmp_path / "saved"))).query.fingerprint == encoder.query.fingerprint
    with torch.no_grad():
        next(iter(encoder.query.model.parameters()))[0, 0] += 1e-3
    save_encoder(encoder, tmp_path / "changed")
    assert load_encoder(EncoderConfig(model=str(tmp_path / "changed"))).query.fingerprint != encoder.query.fingerprint


def test_the_layout_that_newer_sentence_transformers_write_is_read(models: tuple[Path, Path], tmp_path: Path) -> None:
    """What the installed version saves of our folder is read back with the same vectors."""
    from sentence_transformers import SentenceTransformer

    encoder = load_encoder(
        encoder_config(models[0], query_prefix="query: ", passage_prefix="passage: ", query_length=30, passage_length=30)
    )
    save_encoder(encoder, tmp_path / "saved")
    SentenceTransformer(str(tmp_path / "saved"), device="cpu").save(str(tmp_path / "theirs"))
    assert not (tmp_path / "theirs" / "umr_encoder.json").exists()
    again = load_encoder(EncoderConfig(model=str(tmp_path / "theirs")))
    assert again.query.settings == encoder.query.settings
    np.testing.assert_allclose(ours(again, "passage", tmp_path), ours(encoder, "passage", tmp_path), rtol=1e-6, atol=1e-6)
