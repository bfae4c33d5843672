"""Tokenizers that cannot be read, have tokens without embeddings, or explode: an error at load that names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import umr
from cases.folders import change, ours
from umr.config import EncoderConfig, LabelConfig, MineConfig
from umr.errors import UmrError
from umr.models.lm import find_lm
from umr.progress import Silent


def encoder(folder: Path) -> umr.DualEncoder:
    return umr.load_encoder(EncoderConfig(model=str(folder), pooling="mean", similarity="cosine"))


def refused(folder: Path, load: Any) -> UmrError:
    with pytest.raises(UmrError) as caught:
        load(folder)
    assert caught.value.exit_code == 1
    return caught.value


def lm(folder: Path) -> Any:
    return find_lm(str(folder), Silent())


KINDS: list[tuple[Any, Any]] = [(tiny.encoder, encoder), (tiny.llama, lm), (tiny.t5, lm)]


@pytest.mark.parametrize(("make", "load"), KINDS)
@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"])
def test_a_sentencepiece_model_alone(tmp_path: Path, make: Any, load: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where sentencepiece and protobuf are not installed."""
    monkeypatch.setattr("transformers.utils.import_utils.is_sentencepiece_available", lambda: False)
    folder = make(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    error = refused(folder, load)
    assert "sentencepiece and protobuf" in error.message
    assert error.hint == "pip install sentencepiece protobuf"


@pytest.mark.parametrize(("make", "load"), KINDS)
@pytest.mark.parametrize("token", ["<ent>", "[PAD]"])
def test_a_token_without_an_embedding(tmp_path: Path, make: Any, load: Any, token: str) -> None:
    from transformers import AutoTokenizer

    folder = make(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    if token == "[PAD]":
        tokenizer.add_special_tokens({"pad_token": "[NEWPAD]"})
    else:
        tokenizer.add_tokens([token])
    tokenizer.save_pretrained(folder)
    error = refused(folder, load)
    assert f"tokens up to {rows}" in error.message
    assert f"{rows:,} rows" in error.message
    assert "resize_token_embeddings" in error.hint


def test_marks_of_images_need_no_embedding(tmp_path: Path) -> None:
    """Gemma 3 of texts alone has one in its tokenizer."""
    from transformers import AutoTokenizer

    folder = tiny.encoder(tmp_path / "model")
    plain = ours(encoder(folder), "query", tmp_path / "before", ["the river"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": []})
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    change(folder, "tokenizer_config.json", image_token="<image>", extra_special_tokens={"image_token": "<image>"})
    found = ours(encoder(folder), "query", tmp_path / "after", ["the river", "the <image> river"])
    np.testing.assert_allclose(found[0], plain[0], atol=1e-6)
    assert abs(found[1]).sum() > 0


def rules(folder: Path, **parts: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return folder


DOUBLE = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}


@pytest.mark.parametrize(("make", "load"), KINDS)
@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 100_000},
        {"type": "Sequence", "normalizers": [DOUBLE] * 60},
        {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [DOUBLE] * 8}] * 8},
    ],
)
def test_rules_that_make_much_of_little(tmp_path: Path, make: Any, load: Any, normalizer: dict[str, Any]) -> None:
    error = refused(rules(make(tmp_path / "model"), normalizer=normalizer), load)
    assert "tokenizer.json: its rules make up to" in error.message


def test_a_regular_expression_that_does_not_come_to_an_end(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a|aa|a*)*c"}, "behavior": "Isolated", "invert": False}
    folder = rules(tiny.encoder(tmp_path / "model"), pre_tokenizer=split)
    with pytest.raises(UmrError, match='id "1": the tokenizer failed') as caught:
        ours(encoder(folder), "query", tmp_path / "work", ["the river", "a" * 2000 + "b c"])
    assert caught.value.exit_code == 1


def test_the_same_in_a_prompt(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a|aa|a*)*c"}, "behavior": "Isolated", "invert": False}
    model = rules(tiny.gpt2(tmp_path / "model"), pre_tokenizer=split)
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "p", "text": "a" * 2000 + "b c"}) + "\n")
    (tmp_path / "q.jsonl").write_text(json.dumps({"id": "q", "text": "the river", "lang": "en"}) + "\n")
    config = EncoderConfig(model=str(tiny.encoder(tmp_path / "encoder")), pooling="mean", similarity="cosine")
    work = umr.create_workspace(tmp_path / "work", [str(tmp_path / "p.jsonl")], [str(tmp_path / "q.jsonl")], config)
    umr.mine(work, MineConfig(top_k=1, device="cpu"))
    with pytest.raises(UmrError, match="do not come to an end") as caught:
        umr.label(work, LabelConfig(lm=str(model), device="cpu"))
    assert caught.value.exit_code == 1


def test_a_tokenizer_of_hundreds_of_megabytes(tmp_path: Path) -> None:
    folder = tiny.encoder(tmp_path / "model")
    with (folder / "tokenizer.json").open("rb+") as file:
        file.truncate(1 << 29)
    assert "tokenizer.json has 536,870,912 bytes" in refused(folder, encoder).message
