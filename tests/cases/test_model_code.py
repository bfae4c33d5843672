"""No code of a model ever runs, whatever is answered on standard input; the error says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from cases.folders import change, put

BODY = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import {kind} as Base
class Mine(Base):
    model_type = "mine"
"""


def with_code(folder: Path, marker: Path, **maps: str) -> Path:
    """Two files of code in a model folder, which `auto_map` names."""
    (folder / "configuration_mine.py").write_text(BODY.format(marker=str(marker), kind="BertConfig"))
    (folder / "modeling_mine.py").write_text(BODY.format(marker=str(marker), kind="BertModel"))
    return change(folder, "config.json", model_type="mine", auto_map={"AutoConfig": "configuration_mine.Mine", **maps})


def umr(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line, with a yes to every question."""
    command = [sys.executable, "-c", "from umr.cli import main; main()", *map(str, arguments)]
    caches = {"HF_HOME": str(tmp_path / "hf"), "HF_MODULES_CACHE": str(tmp_path / "modules"), "COLUMNS": "300", "NO_COLOR": "1"}
    return subprocess.run(command, input="y\n" * 50, capture_output=True, text=True, env=os.environ | caches, check=False)


def refused(done: subprocess.CompletedProcess[str], marker: Path) -> str:
    assert not marker.exists(), "code of the model ran"
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.fixture
def files(tmp_path: Path) -> tuple[Any, ...]:
    corpus = tiny.tiny_corpus(tmp_path / "data")
    return (tmp_path / "work", "--passages", corpus.passages, "--queries", corpus.queries, "--top-k", 4, "--device", "cpu")


def test_an_encoder_with_code_of_its_own(tmp_path: Path, files: tuple[Any, ...]) -> None:
    marker = tmp_path / "marker"
    folder = with_code(tiny.encoder(tmp_path / "model"), marker, AutoModel="modeling_mine.Mine")
    message = refused(umr(tmp_path, "mine", *files, "--encoder", folder, "--pooling", "mean", "--similarity", "cosine"), marker)
    assert "code of its own, which umr never runs" in message


def test_a_tokenizer_with_code_of_its_own(tmp_path: Path, files: tuple[Any, ...]) -> None:
    marker = tmp_path / "marker"
    folder = tiny.encoder(tmp_path / "model")
    (folder / "tokenization_mine.py").write_text(BODY.format(marker=str(marker), kind="PreTrainedTokenizerFast"))
    own = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": [None, "tokenization_mine.Mine"]}}
    change(folder, "tokenizer_config.json", **own)
    done = umr(tmp_path, "mine", *files, "--encoder", folder, "--pooling", "mean", "--similarity", "cosine")
    assert not marker.exists()
    assert "Traceback" not in done.stderr


def test_a_language_model_with_code_of_its_own(tmp_path: Path, files: tuple[Any, ...]) -> None:
    marker = tmp_path / "marker"
    encoder = tiny.encoder(tmp_path / "encoder")
    mined = umr(tmp_path, "mine", *files, "--encoder", encoder, "--pooling", "mean", "--similarity", "cosine")
    assert mined.returncode == 0, mined.stderr
    folder = with_code(tiny.llama(tmp_path / "lm"), marker, AutoModelForCausalLM="modeling_mine.Mine")
    message = refused(umr(tmp_path, "label", files[0], "--lm", folder, "--device", "cpu"), marker)
    assert "code of its own, which umr never runs" in message


@pytest.mark.parametrize("kind", ["modeling_mine.Pooling", "mine.Transformer"])
def test_a_module_of_sentence_transformers_with_code_of_its_own(tmp_path: Path, files: tuple[Any, ...], kind: str) -> None:
    marker = tmp_path / "marker"
    folder = tiny.encoder(tmp_path / "model")
    (folder / "modeling_mine.py").write_text(BODY.format(marker=str(marker), kind="BertModel"))
    plain = "sentence_transformers.models."
    modules = [kind if kind.endswith(part) else plain + part for part in ("Transformer", "Pooling", "Normalize")]
    put(folder, "modules.json", [{"idx": i, "name": str(i), "path": f"{i}_x" if i else "", "type": t} for i, t in enumerate(modules)])
    message = refused(umr(tmp_path, "mine", *files, "--encoder", folder), marker)
    assert json.dumps(kind)[1:-1] in message
    assert "code of its own, which umr never runs" in message


def test_weights_that_are_a_pickle_with_code(tmp_path: Path, files: tuple[Any, ...]) -> None:
    import pickle

    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.write_text, (marker, "ran")

    folder = tiny.encoder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    refused(umr(tmp_path, "mine", *files, "--encoder", folder, "--pooling", "mean", "--similarity", "cosine"), marker)
