"""What a folder of sentence-transformers says of its encoder; what would change a vector and is not honoured is refused by name.

Source: the loaders of sentence-transformers 5.0 to 6.2 (`Transformer`, `Pooling`, `Normalize`, `SentenceTransformer`).
docs/encoders.md has the table of every field.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from umr.config import Pooling
from umr.errors import FormatError, InputError
from umr.storage import MODELS_NUMBER, read_json

MODULES = ("Transformer", "Pooling", "Normalize")  # whose work umr does itself
CONFIGS = tuple(  # of the Transformer: the first that says anything counts
    f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
LENGTHS = {"max_seq_length": ("query_length", "passage_length"), "query_length": ("query_length",), "document_length": ("passage_length",)}
OPTIONS = ("model", "tokenizer", "processor", "config")  # of loading, each as NAME_args or NAME_kwargs
SAME_VECTORS = ("attn_implementation", "dtype", "torch_dtype", "padding_side", "trust_remote_code", "use_cache")  # among those options
TEXT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
HONOURED: dict[str, Any] = {  # of the Transformer's file: what each key may be; None allows anything
    **dict.fromkeys([*LENGTHS, "do_lower_case", "unpad_inputs", "backend"]),
    "transformer_task": ["feature-extraction"], "module_output_name": ["token_embeddings"], "modality_config": [TEXT],
}  # fmt: skip
POOLINGS: dict[str, Pooling] = {
    "mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls", "lasttoken": "last",
}  # fmt: skip
RESAVE = "load it with sentence-transformers as it is meant, and save a folder without this setting; or choose another encoder"


def read_folder(folder: Path, chosen: Collection[str] = ()) -> dict[str, Any]:
    """The settings that the files state, by the names of `EncoderSettings`.

    Arguments:
        folder: holds `modules.json`.
        chosen: settings that the user gives: what the files say of these does not count, and is not refused.

    Raises:
        FormatError: a file is not of the form that sentence-transformers reads.
        InputError: a setting that umr does not honour; the message names file, key and value.
    """
    paths = _modules(folder / "modules.json")
    found = _lengths(folder)
    if "Pooling" in paths and "pooling" not in chosen:
        found["pooling"] = _pooling(paths["Pooling"] / "config.json")
    path = folder / "config_sentence_transformers.json"
    config = json_of(path)
    prompts, default = _prompts(path, config)
    found |= prompts
    _require_default(path, default, prompts, chosen)
    for key, values in (("truncate_dim", [None]), ("model_type", [None, "SentenceTransformer"])):
        _require(path, key, config.get(key), values)
    if "Normalize" in paths:
        found["similarity"] = "cosine"
    elif "similarity" not in chosen and config.get("similarity_fn_name") is not None:
        _require(path, "similarity_fn_name", config["similarity_fn_name"], ["cosine", "dot"])
        found["similarity"] = config["similarity_fn_name"]
    return found


def require_prompts_pooled(folder: Path) -> None:
    """Refuse a pooling that leaves out the tokens of a prefix.

    Raises:
        InputError: `include_prompt` is false.
    """
    where = _modules(folder / "modules.json").get("Pooling", folder) / "config.json"
    _require(where, "include_prompt", json_of(where).get("include_prompt", True), [True])


def lower_cases(folder: Path) -> bool:
    """Whether texts are made lower case before the tokenizer's own rules."""
    path, config = _transformer(folder)
    return bool(typed(path, config, "do_lower_case", bool, False))


def typed(path: Path, config: Mapping[str, Any], key: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """A value of a JSON object; null counts as absent.

    Raises:
        FormatError: it is of another type.
    """
    value = config.get(key)
    if value is None:
        return default
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:
        expected = " or ".join(one.__name__ for one in kinds)
        raise FormatError(f"{path}: {key} is {shown(value)}, expected {expected}", "mend the file, or choose another encoder")
    return value


def _modules(path: Path) -> dict[str, Path]:
    """The folders of the modules by kind: a Transformer, perhaps a Pooling, perhaps Normalize."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        named = [(str(entry["type"]), str(entry["path"])) for entry in entries]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not a list of modules ({error!r})", "choose another encoder") from error
    kinds = [kind.rsplit(".", 1)[-1] for kind, _ in named]
    for (kind, place), short in zip(named, kinds, strict=True):
        if not kind.startswith("sentence_transformers."):
            raise InputError(f"{path}: the module {shown(kind)} is code of its own, which umr never runs", "choose another encoder")
        if short not in MODULES:
            raise InputError(
                f"{path.parent} has a module {short!r} after its pooling, which umr does not run",
                f"give an encoder of {', '.join(MODULES)} alone",
            )
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts or "\0" in place:
            raise FormatError(f"{path}: the path {shown(place)} leads out of the folder", "choose another encoder")
    if kinds != [kind for kind in MODULES if kind in kinds] or not kinds or kinds[0] != "Transformer":
        raise InputError(f"{path}: modules in the order {', '.join(kinds)}, which umr does not run", f"expected {', '.join(MODULES)}")
    paths = {short: path.parent / place for short, (_, place) in zip(kinds, named, strict=True)}
    if paths["Transformer"] != path.parent:
        raise InputError(f"{path}: the Transformer is in the folder {named[0][1]!r}", RESAVE)
    for key in ("module_input_name", "module_output_name") if "Normalize" in paths else ():
        where = paths["Normalize"] / "config.json"
        _require(where, key, json_of(where).get(key), [None, "sentence_embedding"])
    return paths


def _transformer(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The Transformer's file and what it says; a setting that changes vectors is one of those that are honoured."""
    read = ((folder / name, json_of(folder / name)) for name in CONFIGS)
    path, config = next(((path, config) for path, config in read if config), (folder / CONFIGS[0], {}))
    for key, value in config.items():
        name, _, form = key.rpartition("_")
        if name in OPTIONS and form in ("args", "kwargs"):
            for option, given in typed(path, config, key, dict, {}).items():
                if option not in SAME_VECTORS:
                    _require(path, f"{key}: {option}", given, [None])
        elif key not in HONOURED:
            _require(path, key, value, [None, False, "", [], {}])
        elif HONOURED[key] is not None:
            _require(path, key, value, [None, *HONOURED[key]])
    return path, config


def _lengths(folder: Path) -> dict[str, Any]:
    """The longest query and passage; from 5.4 on the length is the tokenizer's own."""
    path, config = _transformer(folder)
    found: dict[str, Any] = {}
    for key, names in LENGTHS.items():
        length = typed(path, config, key, int, None)
        if length is not None:
            found |= dict.fromkeys(names, length)
    return found


def _pooling(path: Path) -> Pooling:
    """The pooling of both layouts: `pooling_mode_*` booleans (to 5.3), or `pooling_mode` (from 5.4), a name or a list of names."""
    config = json_of(path)
    flags = [key.removeprefix("pooling_mode_") for key, value in config.items() if value is True and key.startswith("pooling_mode_")]
    named = config.get("pooling_mode", flags or ["mean"])
    modes = named if isinstance(named, list) else [named]
    _require(path, "pooling_mode", modes[0] if len(modes) == 1 else modes, list(POOLINGS))
    return POOLINGS[modes[0]]


def _prompts(path: Path, config: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """The prefixes of the sides, and the prompt that `encode` takes where none is asked for."""
    found: dict[str, str] = {}
    prompts = typed(path, config, "prompts", dict, {})
    for key, names in (("query_prefix", ("query",)), ("passage_prefix", ("document", "passage", "corpus"))):
        found |= next(({key: text} for n in names if (text := typed(path, prompts, n, str, ""))), {})
    name = typed(path, config, "default_prompt_name", str, None)
    return found, typed(path, prompts, name, str, "") if name else ""


def _require_default(path: Path, default: str, prompts: Mapping[str, str], chosen: Collection[str]) -> None:
    """A default prompt that is neither side's would be put before every text by `encode`, and by umr before none."""
    if default and default not in prompts.values() and not {"query_prefix", "passage_prefix"} <= set(chosen):
        raise InputError(
            f"{path}: the default prompt {shown(default)} is neither that of queries nor that of passages",
            "say what is put before each: --query-prefix and --passage-prefix",
        )


def _require(path: Path, key: str, value: Any, allowed: list[Any]) -> None:
    if not any(type(value) is type(one) and value == one for one in allowed):
        expected = " or ".join(map(shown, allowed))
        raise InputError(f"{path}: {key} is {shown(value)}, which umr does not honour (only {expected})", RESAVE)


def shown(value: Any) -> str:
    """A value as a message names it."""
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def json_of(path: Path) -> dict[str, Any]:
    """The object of a model's JSON file; empty where there is no such file."""
    return read_json(path, MODELS_NUMBER) if path.is_file() else {}
