"""Loading with transformers: quietly, from a folder or a hub, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umr._rust import fingerprint_files
from umr.errors import ModelError
from umr.models.explain import MERGE, incomplete, refusal
from umr.storage import read_json

WEIGHTS = ("*.safetensors", "*.bin")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "*.model", "vocab.*", "merges.txt")
DOWNLOADED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "1_Pooling/*"]


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
    try:
        with quietly():
            return loader(name, **options)
    except BaseException as error:  # code of others: tokenizers raises plain Exception and panics, transformers almost anything
        if not (isinstance(error, Exception) or panicked(error)):
            raise
        raise refusal(name, error) from error


def panicked(error: BaseException) -> bool:
    """Whether an error is a panic of a library in Rust, which is no `Exception`."""
    return type(error).__name__ == "PanicException"


def pretrained(folder: Path, kind: Any, **options: Any) -> Any:
    """What a class of transformers loads from a folder; code that the folder brings is never run.

    Arguments:
        folder: the model's files.
        kind: a class with `from_pretrained`.
        options: passed on.

    Raises:
        ModelError: an unusable folder, or one that needs code of its own.
    """
    return load(str(folder), kind.from_pretrained, trust_remote_code=False, **options)


def local_folder(name: str) -> Path:
    """The folder that holds a model's files: itself, or its snapshot from the hub, downloaded once.

    Weights come as safetensors; only a repository that has none gives its .bin files.

    Raises:
        ModelError: the files cannot be had, or the repository is no model of transformers.
    """
    if Path(name).is_dir():
        return _whole(Path(name))
    from huggingface_hub import snapshot_download

    folder = Path(load(name, snapshot_download, allow_patterns=DOWNLOADED))
    if not any(folder.glob("*.safetensors")):
        folder = Path(load(name, snapshot_download, allow_patterns=[*DOWNLOADED, "*.bin"]))
    if not (folder / "config.json").exists():
        why = incomplete(folder) or "of a repository of GGUF files download one and give its path; otherwise choose another model"
        raise ModelError(f"{name} is no model of transformers: its repository has no config.json", why)
    return _whole(folder)


def _whole(folder: Path) -> Path:
    """The folder, unless an adapter in it changes what the weights compute, or its weights are outside of it."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} holds an adapter (adapter_config.json), which umr does not apply", MERGE)
    for index in sorted(folder.glob("*.index.json")):
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or any(not isinstance(name, str) or "/" in name for name in shards.values()):
            raise ModelError(f"{index}: its weight_map does not name files of this folder", "give the folder that save_pretrained wrote")
    return folder


def weights_fingerprint(folder: Path) -> str:
    """A fingerprint of the weights themselves, whatever the folder is called.

    Arguments:
        folder: a model folder.

    Returns:
        hexadecimal digest of the weight files (safetensors where there are any) and config.json.

    Raises:
        ModelError: the folder holds no weights.
    """
    for pattern in WEIGHTS:
        files = sorted(folder.glob(pattern))
        if files:
            return fingerprint_files([str(f) for f in files] + [str(folder / "config.json")])
    cure = incomplete(folder) or "give the folder that transformers' save_pretrained wrote"
    raise ModelError(f"{folder} holds no weights (*.safetensors)", cure)


def tokenizer_fingerprint(folder: Path) -> str:
    """A fingerprint of the tokenizer's files: another tokenizer, or one that adds other special tokens, is another model."""
    return fingerprint_files([str(file) for pattern in TOKENIZER for file in sorted(folder.glob(pattern))])
