"""An encoder's right settings: from its own files where they say, from its family where it is known, never guessed.

Sources, in this order: the user, `umr_encoder.json` (written by umr), a sentence-transformers folder, the family
(Contriever and DPR by architecture, E5 by name).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from umr.config import EncoderConfig, Pooling, Similarity, Title
from umr.encoder.sentence_folder import json_of, read_folder, require_prompts_pooled, shown, typed
from umr.errors import FormatError, InputError
from umr.settings import choices_of
from umr.storage import read_json

FILE = "umr_encoder.json"
LIMIT = 512  # tokens: longer passages only on request
LONGEST = 1 << 24  # tokens that a length may be, far beyond any model's positions
LONGEST_PREFIX = 1 << 12  # characters


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
    chosen = {key: value for key in FIELDS if (value := getattr(config, key)) is not None}
    found, source = known_settings(name, folder, chosen)
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
    if says_modules(folder) and (merged["query_prefix"] or merged["passage_prefix"]):
        require_prompts_pooled(folder)
    return EncoderSettings(**{key: merged[key] for key in FIELDS}), source if found else "set by you"


def _within(name: str, folder: Path, merged: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with lengths that the model has positions for; one that the user chose is refused, not cut."""
    limit = _positions(folder)
    lengths = {key: merged[key] for key in ("query_length", "passage_length") if limit and merged[key] > limit}
    for key in lengths.keys() & chosen.keys():
        raise InputError(f"{key} is {merged[key]}, but {name!r} has positions for {limit} tokens", f"set {key} to {limit} or less")
    return {**merged, **dict.fromkeys(lengths, limit)}


def known_settings(name: str, folder: Path, chosen: Collection[str] = ()) -> tuple[dict[str, Any], str]:
    """What the model's own files or its family say, and which of them said it.

    Arguments:
        name, folder: of the model.
        chosen: settings that the user gives, of which the files need not say anything that umr honours.

    Raises:
        FormatError: a value that a setting cannot have; the message names file and key.
        InputError: a setting of the files that umr does not honour.
    """
    if (folder / FILE).is_file():
        value = read_json(folder / FILE)
        return _checked(folder / FILE, {key: value[key] for key in FIELDS if key in value}), f"read from {FILE}"
    if says_modules(folder):
        found = _checked(folder / "modules.json", _family(name, folder)[0] | read_folder(folder, chosen))
        lengths = {key: min(LIMIT, found[key]) for key in ("query_length", "passage_length") if key in found}
        return found | lengths, "read from its sentence-transformers files"
    return _family(name, folder)


def says_modules(folder: Path) -> bool:
    """Whether the settings are those of sentence-transformers' files."""
    return (folder / "modules.json").is_file() and not (folder / FILE).is_file()


def _checked(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file, each of a value that it can have."""
    hints = get_type_hints(EncoderSettings)
    for key, value in found.items():
        choices, kind = choices_of(hints[key]), hints[key]
        right = value in choices if choices else type(value) is kind
        if not right or (kind is int and not 0 < value <= LONGEST) or (kind is str and not _short_text(value)):
            expected = ", ".join(choices) or {int: f"a number from 1 to {LONGEST}", bool: "true or false"}.get(kind, "a short text")
            raise FormatError(f"{path}: {key} is {shown(value)}, expected {expected}", "mend the file, or choose another encoder")
    return found


def _short_text(value: str) -> bool:
    """Whether it can be a prefix: no lone surrogates, and not longer than any text that is encoded."""
    return len(value) <= LONGEST_PREFIX and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _defaults(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    tokenizer = typed(path, json_of(path), "model_max_length", (int, float), LIMIT)
    limit = max(1, min(LIMIT, _positions(folder) or LIMIT, tokenizer))
    return {
        "query_prefix": "", "passage_prefix": "", "title": "text",
        "query_length": int(limit), "passage_length": int(limit), "strip_question_mark": False,
    }  # fmt: skip


def _positions(folder: Path) -> int | None:
    """Tokens that the model has positions for, None where it does not say."""
    path = folder / "config.json"
    config = json_of(path)
    # RoBERTa's positions begin after the padding index, so two of them cannot be used.
    reserved = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
    positions = typed(path, config, "max_position_embeddings", int, 0)
    return int(positions) - reserved if positions > 0 else None  # XLNet says -1


def _family(name: str, folder: Path) -> tuple[dict[str, Any], str]:
    architecture = architecture_of(folder)
    if architecture == "Contriever":
        return {"pooling": "mean", "similarity": "dot", "title": "text"}, "the Contriever family"
    if architecture.startswith("DPR"):
        return {"pooling": "cls", "similarity": "dot", "title": "pair", "query_length": 256, "passage_length": 256}, "the DPR family"
    if re.search(r"(^|[-_/:])e5-(small|base|large)(-v2)?$", name.rstrip("/")):
        prefixes = {"query_prefix": "query: ", "passage_prefix": "passage: "}
        return {"pooling": "mean", "similarity": "cosine", **prefixes}, "the E5 family"
    return {}, ""


def architecture_of(folder: Path) -> str:
    """The class of the weights as config.json names it, empty where it does not."""
    path = folder / "config.json"
    names = typed(path, json_of(path), "architectures", list, [])
    return str(names[0]) if names else ""
