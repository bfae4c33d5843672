"""A model that cannot be had: what happened and what to do, for every way that a hub, a folder and a file have of failing."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

import tiny
from umr.errors import ModelError
from umr.models.lm import find_lm, load_lm
from umr.models.loading import load
from umr.progress import Silent

NAME = "owner/model"


def of_hub(kind: str, status: int, message: str) -> Callable[[], Exception]:
    """An error of the hub's library as it raises them."""

    def make() -> Exception:
        from huggingface_hub import errors

        response_type = errors.HfHubHTTPError.__init__.__globals__.get("Response")
        if response_type is None:
            import httpx2

            response_type = httpx2.Response
        import httpx2

        request = httpx2.Request("GET", f"https://huggingface.co/{NAME}/resolve/main/config.json")
        return getattr(errors, kind)(message, response=response_type(status, request=request))  # type: ignore[no-any-return]

    return make


def without_network() -> Exception:
    from huggingface_hub.errors import LocalEntryNotFoundError

    error = LocalEntryNotFoundError("An error happened while trying to locate the files on the Hub")
    error.__cause__ = ConnectionError("[Errno -2] Name or service not known")
    return error


def without_proxy() -> Exception:
    import httpx2

    return httpx2.ProxyError("407 Proxy Authentication Required")


HUB: list[tuple[Callable[[], Exception], str]] = [
    (of_hub("GatedRepoError", 403, "403 Client Error. Cannot access gated repo for url"), "accept its terms on https://huggingface.co/owner/model"),
    (of_hub("GatedRepoError", 401, "401 Client Error. Access to model owner/model is restricted"), "hf auth login"),
    (of_hub("RepositoryNotFoundError", 401, "401 Client Error. Repository Not Found for url"), "owner/model that you may see"),
    (of_hub("RepositoryNotFoundError", 404, "404 Client Error."), "check the spelling"),
    (of_hub("HfHubHTTPError", 401, "401 Client Error: Unauthorized; Invalid credentials"), "your token is not valid"),
    (of_hub("HfHubHTTPError", 403, "403 Forbidden: None."), "gated or private, or your token"),
    (of_hub("HfHubHTTPError", 503, "503 Server Error: Service Unavailable"), "the hub cannot be reached"),
    (of_hub("HfHubHTTPError", 429, "429 Client Error: Too Many Requests"), "the hub cannot be reached"),
    (without_network, "the hub cannot be reached from here: give a local folder"),
    (without_proxy, "the hub cannot be reached"),
    (lambda: OSError(errno.ENOSPC, "No space left on device"), "set HF_HOME"),
    (lambda: ValueError("'owner--' cannot have -- or .. in repo_id"), "a hub id is owner/name"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "hint"), HUB)
def test_a_hub_that_gives_no_model(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception], hint: str) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error()

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(ModelError) as caught:
        find_lm(NAME, Silent())
    assert hint in caught.value.hint
    assert f"cannot load the model {NAME!r}" in caught.value.message
    assert "\n" not in caught.value.message


def test_offline_by_wish_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        load(NAME, lambda _: (_ for _ in ()).throw(without_network()))
    assert caught.value.hint.startswith("HF_HUB_OFFLINE is set")


@pytest.mark.parametrize(("file", "hint"), [("adapter_config.json", "this is an adapter"), ("README.md", "GGUF files")])
def test_a_repository_that_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, hint: str) -> None:
    (tmp_path / file).write_text("{}")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(ModelError, match="owner/model is no model of transformers") as caught:
        find_lm(NAME, Silent())
    assert hint in caught.value.hint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.llama(tmp_path / "lm")


def refused(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_lm(find_lm(str(folder), Silent()), "fp32", torch.device("cpu"))
    assert str(folder) in caught.value.message
    return caught.value


def test_a_folder_of_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "model-Q4_0.gguf").write_bytes(b"GGUF")
    assert "model-Q4_0.gguf" in refused(tmp_path).hint


def test_a_folder_of_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    assert "merge" in refused(tmp_path).hint


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(folder).message


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "it has no tokenizer" in refused(folder).hint


@pytest.mark.parametrize("content", ["", "{}", "[", '{"model": 3}'])
def test_a_broken_tokenizer(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    assert refused(folder).hint


def test_a_tokenizer_that_is_not_fast(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    folder = tiny.t5(tmp_path / "lm")
    (folder / "tokenizer.json").unlink()
    ByT5Tokenizer().save_pretrained(folder)
    error = refused(folder)
    assert "has no fast tokenizer" in error.message
    assert "tokenizer.json" in error.hint


@pytest.mark.parametrize(
    "architecture", ["BertModel", "RobertaForMaskedLM", "XLMRobertaModel", "LlamaModel", "LlamaForSequenceClassification", "T5EncoderModel"]
)
def test_an_encoder_or_a_classifier_is_no_lm(folder: Path, architecture: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [architecture]}))
    error = refused(folder)
    assert "not a language model that scores text" in error.message
    assert "--lm" in error.hint


def test_weights_without_a_head_are_refused(folder: Path) -> None:
    """Named as a language model, saved from its body alone: transformers would draw the head at random and go on."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights of a language model: lm_head.weight" in refused(folder).message


def test_tied_weights_lack_nothing(tmp_path: Path) -> None:
    for maker in (tiny.gpt2, tiny.t5, tiny.gemma3):
        files = find_lm(str(maker(tmp_path / maker.__name__)), Silent())
        assert load_lm(files, "fp32", torch.device("cpu")).model is not None


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    assert refused(folder).hint


def test_an_unknown_kind_of_model(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llama-of-the-future"}))
    assert "pip install -U transformers" in refused(folder).hint


def test_a_model_with_code_of_its_own_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "mine.py").write_text("raise SystemExit('was run')")
    assert "umr never runs" in refused(folder).hint


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_too_little_memory(error: Exception) -> None:
    with pytest.raises(ModelError) as caught:
        load(NAME, lambda _: (_ for _ in ()).throw(error))
    assert "--weights int8" in caught.value.hint


def test_what_the_user_stops_is_no_model_error() -> None:
    with pytest.raises(KeyboardInterrupt):
        load(NAME, lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))


def test_a_copied_folder_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert find_lm(str(folder), Silent()).fingerprint == find_lm(str(tmp_path / "copy"), Silent()).fingerprint
