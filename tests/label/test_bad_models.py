"""What is no language model for labelling is refused with its name and a cure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from umr.config import LabelConfig
from umr.errors import ModelError, UsageError
from umr.label import label


@pytest.fixture
def work(tmp_path: Path) -> Any:
    made = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    tiny.mined(made)
    return made


def refused(work: Any, lm: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        label(work, LabelConfig(lm=lm, precision="fp32"))
    assert caught.value.hint
    assert caught.value.exit_code == 1
    assert not work.layout.scores.exists()
    return caught.value


@pytest.mark.parametrize("name", ["/nowhere/model", "./here", "gemma", "a/b/c", "~/no-such-folder"])
def test_a_folder_that_does_not_exist(work: Any, name: str) -> None:
    assert f"no model at {name!r}" in refused(work, name).message


def test_a_hub_that_cannot_be_reached(work: Any) -> None:
    error = refused(work, "nobody/no-such-model-of-umr")
    assert "nobody/no-such-model-of-umr" in error.message
    assert "HF_HUB_OFFLINE" in error.hint
    assert "local folder" in error.hint


def test_an_unknown_packaged_model(work: Any) -> None:
    assert "pypi:gemma-3-270m" in refused(work, "pypi:gemma").hint


def test_a_missing_gguf_file(work: Any, tmp_path: Path) -> None:
    assert "no GGUF file" in refused(work, str(tmp_path / "absent.gguf")).message


def test_an_encoder_is_no_language_model(work: Any, lm_folder: Callable[..., Path]) -> None:
    folder = lm_folder("encoder")
    error = refused(work, str(folder))
    assert str(folder) in error.message
    assert "bert (BertModel)" in error.message
    assert "--lm" in error.hint


def test_a_folder_without_weights(work: Any, tmp_path: Path, lm_folder: Callable[..., Path]) -> None:
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "config.json").write_text((lm_folder("llama") / "config.json").read_text())
    assert "holds no weights" in refused(work, str(tmp_path / "lm")).message


def test_an_empty_folder(work: Any, tmp_path: Path) -> None:
    (tmp_path / "lm").mkdir()
    assert str(tmp_path / "lm") in refused(work, str(tmp_path / "lm")).message


def test_weights_that_are_torn(work: Any, tmp_path: Path) -> None:
    folder = tiny.llama(tmp_path / "lm")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError) as caught:
        label(work, LabelConfig(lm=str(folder), precision="fp32"))
    assert str(folder) in caught.value.message


def test_a_tokenizer_that_is_missing(work: Any, tmp_path: Path) -> None:
    folder = tiny.llama(tmp_path / "lm")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError) as caught:
        label(work, LabelConfig(lm=str(folder), precision="fp32"))
    assert str(folder) in caught.value.message


@pytest.mark.parametrize("device", ["cuda:99", "tpu-of-mine", "cuda"])
def test_a_device_that_is_not_there(work: Any, lm_folder: Callable[..., Path], device: str) -> None:
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("shows what is said where there is no GPU; this machine has one")
    with pytest.raises(UsageError, match="device"):
        label(work, replace(LabelConfig(lm=str(lm_folder("llama")), precision="fp32"), device=device))
