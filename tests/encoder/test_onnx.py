"""Encoders as ONNX models: onnxruntime gives umr's own vectors to 1e-4, with nothing but the files of the folder."""

from __future__ import annotations

import json
import sys
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
from umr.encoder.encoder import DualEncoder, Side
from umr.encoder.export import save_encoder
from umr.encoder.load import load_encoder
from umr.encoder.means import Means, SideMeans, whitening_of
from umr.encoder.onnx import export_onnx
from umr.errors import InputError, MissingExtraError, ModelError

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'umr[onnx]'")
pytest.importorskip("onnxscript", reason="pip install 'umr[onnx]'")

SIDES: tuple[Side, Side] = ("query", "passage")
TEXTS = ["river", "the old bridge built by the king of the north", "король построил старый мост", "城市古老桥梁", "नदी शहर", "the " * 90]
Vectors = NDArray[np.float32]


def theirs(folder: Path, side: Side, texts: Sequence[str], languages: Sequence[str] = ()) -> Vectors:
    """Vectors of onnxruntime with the `tokenizers` package: neither umr nor transformers nor torch."""
    from tokenizers import Tokenizer

    about = json.loads((folder / "umr_onnx.json").read_text(encoding="utf-8"))[side]
    tokenizer = Tokenizer.from_file(str(folder / about["folder"] / "tokenizer.json"))
    tokenizer.enable_truncation(about[f"{side}_length"])
    tokenizer.enable_padding()
    made = tokenizer.encode_batch([about[f"{side}_prefix"] + text for text in texts])
    feed = {"input_ids": np.array([one.ids for one in made]), "attention_mask": np.array([one.attention_mask for one in made])}
    if about["languages"]:
        places = {lang: place for place, lang in enumerate(about["languages"])}
        feed["language"] = np.array([places.get(lang, 0) for lang in languages])
    session = onnxruntime.InferenceSession(folder / about["folder"] / "model.onnx")
    assert [one.name for one in session.get_inputs()] == list(feed)
    (vectors,) = session.run(["vectors"], feed)
    assert vectors.dtype == np.float32
    return np.asarray(vectors)


def require_alike(encoder: DualEncoder, folder: Path) -> None:
    """Compare both sides, all texts in one padded batch and each by itself."""
    for side in SIDES:
        wanted = encoder.encode(TEXTS, side)
        assert np.abs(wanted - wanted.mean(axis=0)).max() > 1e-2, "vectors differ, so that a wrong one is noticed"
        np.testing.assert_allclose(theirs(folder, side, TEXTS), wanted, rtol=0, atol=1e-4)
        np.testing.assert_allclose(np.concatenate([theirs(folder, side, [text]) for text in TEXTS]), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("maker", "pooling", "similarity"),
    [(tiny.encoder, "mean", "cosine"), (tiny.encoder, "cls", "dot"), (tiny.gemma3, "last", "cosine")],
)
def test_onnxruntime_gives_the_vectors_of_umr(tmp_path: Path, maker: tiny.Maker, pooling: Any, similarity: Any) -> None:
    config = encoder_config(
        maker(tmp_path / "model"), pooling=pooling, similarity=similarity, query_prefix="query: ", passage_prefix="passage: ",
        query_length=30, passage_length=60,
    )  # fmt: skip
    assert export_onnx(config, tmp_path / "onnx") == tmp_path / "onnx"
    require_alike(load_encoder(config), tmp_path / "onnx")
    assert {p.name for p in (tmp_path / "onnx").iterdir()} >= {"model.onnx", "tokenizer.json", "umr_onnx.json"}
    assert [p.name for p in tmp_path.iterdir() if ".part" in p.name] == []
    assert str(Path(torch.__file__).parent).encode() not in (tmp_path / "onnx" / "model.onnx").read_bytes(), "no paths of this machine"


def test_two_encoders_are_two_models(tmp_path: Path) -> None:
    models = [tiny.encoder(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    encoder = load_encoder(encoder_config(models[0], passage_model=str(models[1])))
    save_encoder(encoder, tmp_path / "saved")
    export_onnx(tmp_path / "saved", tmp_path / "onnx")
    assert sorted(p.name for p in (tmp_path / "onnx").iterdir()) == ["passage", "query", "umr_onnx.json"]
    require_alike(encoder, tmp_path / "onnx")


def drawn(*shape: int, seed: int = 0) -> Vectors:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_the_dense_layer_of_a_centred_encoder_is_in_the_model(bert: Path, tmp_path: Path) -> None:
    encoder = load_encoder(encoder_config(bert))
    whitening = whitening_of([[encoder.encode(TEXTS, "query")]], 32, 1.0)
    means = Means("global", True, SideMeans(drawn(1, 32), ()), SideMeans(drawn(1, 32, seed=1), ()), {}, whitening)
    save_encoder(replace(encoder, means=means), tmp_path / "saved")
    export_onnx(tmp_path / "saved", tmp_path / "onnx")
    for side in SIDES:
        wanted = means.apply(encoder.encode(TEXTS, side), side, np.zeros(len(TEXTS), dtype=np.int64))
        np.testing.assert_allclose(theirs(tmp_path / "onnx", side, TEXTS), wanted, rtol=0, atol=1e-4)
        assert np.abs(wanted - encoder.encode(TEXTS, side)).max() > 1e-2


def test_means_of_languages_are_an_input(bert: Path, tmp_path: Path) -> None:
    encoder, langs = load_encoder(encoder_config(bert)), ["en", "xx", "ru", "zh", "en", ""]
    means = Means("language", True, SideMeans(drawn(3, 32), ("en", "ru")), SideMeans(drawn(4, 32, seed=1), ("de", "en", "ru")), {})
    save_encoder(replace(encoder, means=means), tmp_path / "saved")
    export_onnx(tmp_path / "saved", tmp_path / "onnx")
    for side in SIDES:
        wanted = means.apply(encoder.encode(TEXTS, side), side, means.side(side).groups(langs))
        np.testing.assert_allclose(theirs(tmp_path / "onnx", side, TEXTS, langs), wanted, rtol=0, atol=1e-4)
        np.testing.assert_allclose(theirs(tmp_path / "onnx", side, TEXTS[2:3], ["ru"]), wanted[2:3], rtol=0, atol=1e-4)


def test_what_cannot_be_exported_is_refused(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="there is there already, and is not written over") as caught:
        export_onnx(bert, tmp_path / "there")
    assert caught.value.hint == "give another folder"

    def refuse(*given: Any, **options: Any) -> None:
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ModelError, match=r"torch cannot export a BertModel \(OnnxExporterError\)") as refused:
        export_onnx(encoder_config(bert), tmp_path / "out")
    assert refused.value.hint == "choose another encoder"
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match="needs the packages onnx and onnxscript") as missing:
        export_onnx(bert, tmp_path / "out")
    assert missing.value.hint == "pip install 'umr[onnx]'"
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
