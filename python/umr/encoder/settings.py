"""An encoder's right settings: from its own files where they say, from its family where it is known, never guessed.

Sources, in this order: the user, `umr_encoder.json` (written by umr), a sentence-transformers folder, the family
(Contriever and DPR by architecture, E5 by name).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from umr.config import EncoderConfig, Pooling, Similarity, Title
from umr.errors import InputError
from umr.storage import read_json

FILE = "umr_encoder.json"
MODULES = ("Transformer", "Pooling", "Normalize")  # of sentence-transformers, whose work umr does itself
LIMIT = 512  # tokens: longer passages only on request


@dataclass(frozen=True)
class EncoderSettings:
    """Everything that decides a vector besides the weights; lengths in tokens."""

    pooling: Pooling
    similarity: Similarity
    query_prefix: str
    passage_prefix: str
    title: Title
    query_length: int
    passage_length: int
    strip_question_mark: bool

    def describe(self) -> str:
        """One line for the user."""
        return (
            f"{self.pooling} pooling, {self.similarity}, query prefix {self.query_prefix!r}, passage prefix {self.passage_prefix!r}, "
            f"title as {self.title}, at most {self.query_length} / {self.passage_length} tokens"
        )


FIELDS = tuple(field.name for field in fields(EncoderSettings))


def resolve_settings(config: EncoderConfig, name: str, folder: Path) -> tuple[EncoderSettings, str]:
    """The settings of an encoder and where they come from.

    Arguments:
        config: what the user set; None fields are found.
        name: the model as the user named it (E5 is known by its name).
        folder: the model's files.

    Returns:
        the settings, and the source in words.

    Raises:
        InputError: pooling or similarity is not known; the hint names the options that say it.
    """
    found, source = known_settings(name, folder)
    chosen = {key: value for key in FIELDS if (value := getattr(config, key)) is not None}
    merged = {**_defaults(folder), **found, **chosen}
    unknown = [key for key in ("pooling", "similarity") if key not in merged]
    if unknown:
        raise InputError(
            f"the model {name!r} does not say its {' and '.join(unknown)}, and its family is not known",
            "say how it was trained: --pooling mean|cls|last and --similarity dot|cosine",
        )
    if chosen and found:
        source += f"; set by you: {', '.join(chosen)}"
    merged = _within(name, folder, merged, chosen)
    return EncoderSettings(**{key: merged[key] for key in FIELDS}), source if found else "set by you"


def _within(name: str, folder: Path, merged: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with lengths that the model has positions for; one that the user chose is refused, not cut."""
    limit = _positions(folder)
    lengths = {key: merged[key] for key in ("query_length", "passage_length") if limit and merged[key] > limit}
    for key in lengths.keys() & chosen.keys():
        raise InputError(f"{key} is {merged[key]}, but {name!r} has positions for {limit} tokens", f"set {key} to {limit} or less")
    return {**merged, **dict.fromkeys(lengths, limit)}


def known_settings(name: str, folder: Path) -> tuple[dict[str, Any], str]:
    """What the model's own files or its family say, and which of them said it."""
    if (folder / FILE).is_file():
        value = read_json(folder / FILE)
        return {key: value[key] for key in FIELDS if key in value}, f"read from {FILE}"
    if (folder / "modules.json").is_file():
        return _family(name, folder)[0] | _sentence_transformers(folder), "read from its sentence-transformers files"
    return _family(name, folder)


def _defaults(folder: Path) -> dict[str, Any]:
    limit = min(LIMIT, _positions(folder) or LIMIT)
    return {
        "query_prefix": "", "passage_prefix": "", "title": "text",
        "query_length": limit, "passage_length": limit, "strip_question_mark": False,
    }  # fmt: skip


def _positions(folder: Path) -> int | None:
    """Tokens that the model has positions for, None where it does not say."""
    config = _json(folder / "config.json")
    # RoBERTa's positions begin after the padding index, so two of them cannot be used.
    reserved = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
    positions = config.get("max_position_embeddings")
    return int(positions) - reserved if positions else None


def _family(name: str, folder: Path) -> tuple[dict[str, Any], str]:
    architecture = (_json(folder / "config.json").get("architectures") or [""])[0]
    if architecture == "Contriever":
        return {"pooling": "mean", "similarity": "dot", "title": "text"}, "the Contriever family"
    if architecture.startswith("DPR"):
        return {"pooling": "cls", "similarity": "dot", "title": "pair", "query_length": 256, "passage_length": 256}, "the DPR family"
    if re.search(r"(^|[-_/:])e5-(small|base|large)(-v2)?$", name.rstrip("/")):
        prefixes = {"query_prefix": "query: ", "passage_prefix": "passage: "}
        return {"pooling": "mean", "similarity": "cosine", **prefixes}, "the E5 family"
    return {}, ""


def _sentence_transformers(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        if kind == "Pooling":
            found |= _pooling(_json(folder / module["path"] / "config.json"))
        if kind == "Normalize":
            found["similarity"] = "cosine"
        if kind not in MODULES:
            raise InputError(
                f"{folder} has a module {kind!r} after its pooling, which umr does not run",
                f"give an encoder of {', '.join(MODULES)} alone",
            )
    settings = _json(folder / "config_sentence_transformers.json")
    if "similarity" not in found and settings.get("similarity_fn_name") in ("dot", "cosine"):
        found["similarity"] = settings["similarity_fn_name"]
    prompts: Mapping[str, str] = settings.get("prompts") or {}
    for key, names in (("query_prefix", ("query",)), ("passage_prefix", ("passage", "document", "corpus"))):
        found |= next(({key: prompts[n]} for n in names if prompts.get(n)), {})
    # From 5.4 on the length is the tokenizer's own.
    length = _json(folder / "sentence_bert_config.json").get("max_seq_length") or _json(folder / "tokenizer_config.json").get(
        "model_max_length"
    )
    if length:
        found |= {"query_length": min(LIMIT, length), "passage_length": min(LIMIT, length)}
    return found


def _pooling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The pooling of both layouts: `pooling_mode_*` booleans (to 5.3), or `pooling_mode` (from 5.4), a name or a list of names."""
    modes: dict[str, Pooling] = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls", "lasttoken": "last"}
    named = config.get(
        "pooling_mode",
        [key.removeprefix("pooling_mode_") for key, value in config.items() if value is True and key.startswith("pooling_mode_")],
    )
    active = [named] if isinstance(named, str) else named
    return {"pooling": modes[active[0]]} if len(active) == 1 and active[0] in modes else {}


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
