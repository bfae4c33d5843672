"""A model's name becomes a folder or a hub id; its weights get a fingerprint; loading is quiet and its errors have cures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from umr.config import Precision
from umr.errors import ModelError, UsageError
from umr.models import PYPI_MODELS, cache_folder, resolve
from umr.models.device import autocast, pick_device, settle_precision
from umr.models.lm import find_lm, load_lm
from umr.models.loading import load, local_folder, weights_fingerprint
from umr.progress import Silent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("llama"))


def test_a_folder_and_a_hub_id_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(str(tmp_path)) == str(tmp_path)
    assert resolve("owner/name") == "owner/name"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "lm").mkdir()
    assert resolve("~/lm") == str(tmp_path / "lm")
    monkeypatch.chdir(tmp_path)
    assert resolve("lm") == "lm"


@pytest.mark.parametrize("name", ["", "lm", "./lm", "../lm", "/lm", "a/b/c", "~/lm"])
def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError, match="there is no such folder"):
        resolve(name)


def test_an_unknown_packaged_model_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match="unknown model 'pypi:e5'") as caught:
        resolve("pypi:e5")
    assert all(name in caught.value.hint for name in PYPI_MODELS)


def test_the_cache_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMR_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "models"
    monkeypatch.delenv("UMR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "umr" / "models"


def test_a_fingerprint_is_of_the_weights_whatever_the_folder(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    assert weights_fingerprint(copy) == weights_fingerprint(model)
    (copy / "README.md").write_text("hello")
    assert weights_fingerprint(copy) == weights_fingerprint(model)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert weights_fingerprint(copy) != weights_fingerprint(model)


def test_the_configuration_counts_too(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "copy")
    config = tmp_path / "copy" / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    assert weights_fingerprint(tmp_path / "copy") != weights_fingerprint(model)


def test_a_language_model_is_its_tokenizer_too(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "copy")
    assert find_lm(str(tmp_path / "copy"), Silent()).fingerprint == find_lm(str(model), Silent()).fingerprint
    tiny.unigram(bos=False).save_pretrained(tmp_path / "copy")
    assert find_lm(str(tmp_path / "copy"), Silent()).fingerprint != find_lm(str(model), Silent()).fingerprint


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no weights"):
        weights_fingerprint(tmp_path)


@pytest.mark.parametrize(("maker", "pairs"), [("llama", False), ("gpt2", False), ("gemma3", False), ("t5", True), ("mt5", True)])
def test_the_kind_of_a_language_model(tmp_path: Path, maker: str, pairs: bool) -> None:
    assert find_lm(str(getattr(tiny, maker)(tmp_path)), Silent()).encoder_decoder is pairs


def test_a_language_model_as_it_is_loaded(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    files = find_lm(str(model), Silent())
    single, half = (load_lm(files, precision, torch.device("cpu")) for precision in ("fp32", "bf16"))  # type: ignore[arg-type]
    assert {weight.dtype for weight in single.model.parameters()} == {torch.float32}
    wide = {name for name, weight in half.model.named_parameters() if weight.dtype == torch.float32}
    assert {name for name in wide if "norm" not in name} <= {"model.embed_tokens.weight", "lm_head.weight", "encoder.embed_tokens.weight"}
    assert {weight.dtype for name, weight in half.model.named_parameters() if name not in wide} == {torch.bfloat16}
    assert not single.model.training
    assert single.context == 512
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_file_in_bf16_has_rounded_beside_its_weights_is_exact_again(tmp_path: Path, precision: Precision) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny.gemma3(tmp_path / "whole")
    loader: Any = AutoModelForCausalLM
    loader.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    found = load_lm(find_lm(str(folder), Silent()), precision, torch.device("cpu")).model.get_input_embeddings()
    assert (found.embed_scale.dtype, float(found.embed_scale)) == (torch.float32, pytest.approx(32**0.5, rel=1e-7))


def test_what_a_loader_raises_becomes_a_model_error(tmp_path: Path) -> None:
    def fails(_: str) -> None:
        raise OSError("first line\nsecond line")

    with pytest.raises(ModelError, match=r"cannot load the model '.*': first line") as caught:
        load(str(tmp_path), fails)
    assert "config.json" in caught.value.hint
    assert "second line" not in caught.value.message


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("401 Client Error", "gated or private"),
        ("Access to model owner/name is gated", "gated or private"),
        ("We couldn't connect to 'https://huggingface.co'", "hub cannot be reached"),
        ("owner/name is not a valid model identifier", "check the name"),
    ],
)
def test_the_hint_fits_what_went_wrong(monkeypatch: pytest.MonkeyPatch, error: str, hint: str) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")

    def fails(_: str) -> None:
        raise OSError(error)

    with pytest.raises(ModelError) as caught:
        load("owner/name", fails)
    assert hint in caught.value.hint


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda")
    for name in ("gpu", "cuda:99", ""):
        with pytest.raises(UsageError):
            pick_device(name)


def test_auto_measures_and_says_which_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    from umr.models import device

    talk, cpu = tiny.Talk(), torch.device("cpu")
    assert settle_precision("bf16", cpu, talk) == "bf16"
    assert not talk.said
    for rates, chosen in (({torch.float32: 100.0, torch.bfloat16: 300.0}, "bf16"), ({torch.float32: 250.0, torch.bfloat16: 150.0}, "fp32")):
        monkeypatch.setattr(device, "matrix_rate", lambda _, dtype, rates=rates: rates[dtype])
        assert settle_precision("auto", cpu, talk) == chosen
        assert talk.said[-1].startswith(f"precision {chosen}: ")


def test_autocast_is_only_for_bf16() -> None:
    a = torch.ones(2, 2)
    with autocast("bf16", torch.device("cpu")):
        assert (a @ a).dtype == torch.bfloat16
    with autocast("fp32", torch.device("cpu")):
        assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize("safe", [True, False])
def test_a_hub_model_is_downloaded_as_safetensors_where_it_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, safe: bool) -> None:
    import huggingface_hub

    asked: list[list[str]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        (tmp_path / "config.json").write_text("")
        if safe:
            (tmp_path / "model.safetensors").write_text("")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert local_folder("owner/model") == tmp_path
    assert [("*.bin" in patterns) for patterns in asked] == ([False] if safe else [False, True])
