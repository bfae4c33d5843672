"""The TOML file of a run: every setting of every stage in one place; read, checked, and written with its defaults."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.errors import FormatError, UsageError
from umr.presets import Said
from umr.settings import REQUIRED, Settings, checked, choices_of, setting
from umr.storage import is_remote, storage_error

WIDTH = 100
"""Columns of the comments."""
HEAD = """\
# `umr run FILE` runs all that this file says. `umr mine WORK --config FILE` runs one stage with its
# settings; so do `umr label` and `umr train`. Paths are relative to this file. A setting that is
# commented out has a default that umr finds; the value here is an example.
"""


@dataclass(frozen=True)
class RunConfig(Settings):
    """A whole run: the work folder, its inputs, and the settings of every stage."""

    work: Path = setting(REQUIRED, "The work folder.", unit="folder", example="work", path="file")
    passages: tuple[str, ...] = setting(
        REQUIRED, "Passages: TSV, JSONL or Parquet; a file, a quoted glob or irds:ID; may be repeated.",
        unit="file", panel="Input", example=["passages.tsv"], path="file",
    )  # fmt: skip
    queries: tuple[str, ...] = setting(
        REQUIRED, "Queries: JSONL, TSV or Parquet; a file, a quoted glob or irds:ID; may be repeated.",
        unit="file", panel="Input", example=["queries.jsonl"], path="file",
    )  # fmt: skip
    encoder: EncoderConfig = setting(REQUIRED, "The encoder that the work begins with.")
    mine: MineConfig = setting(REQUIRED, "Mining: find the candidates of every query.")
    label: LabelConfig = setting(REQUIRED, "Labelling: score the candidates with a language model.")
    train: TrainConfig = setting(REQUIRED, "Training: distil the labels into the encoder.")
    rounds: int = setting(1, "Rounds of mining, labelling and training.", unit="rounds")
    lang: str | None = setting(
        None, "Language of every query; several with commas (es,ar,ja): identified among these.",
        found="the record's own, else identified", unit="code", panel="Input", example="de",
    )  # fmt: skip


TABLES: Mapping[str, type] = {"encoder": EncoderConfig, "mine": MineConfig, "label": LabelConfig, "train": TrainConfig}
Config = TypeVar("Config")


def read_config(path: Path) -> RunConfig:
    """Read a run; see `read_tables`.

    Raises:
        UsageError: also where a required key is missing.
    """
    return _made(RunConfig, read_tables(path), str(path))


def read_tables(path: Path) -> dict[str, Any]:
    """Read what a TOML file sets, of a run or of some of its stages; relative paths are taken from its folder.

    Returns:
        values by field, a mapping for each table; what the file leaves out is not there.

    Raises:
        InputError: there is no such file.
        FormatError: it is not TOML; the message names the line.
        UsageError: an unknown key, a value of the wrong type or not among the choices.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, a number of thousands of digits, brackets in brackets
        raise FormatError(f"{path}: not valid TOML: {error}", "`umr init` writes a file to begin with") from error
    return _from_folder(RunConfig, _checked_table(RunConfig, value, str(path)), path.parent)


def from_record(config: type[Config], values: Mapping[str, Any], path: Path) -> Config:
    """Make a configuration that a manifest keeps; null stands for what is found.

    Raises:
        FormatError: it is not one that was written; names the manifest.
    """
    try:
        given = {key: value for key, value in values.items() if value is not None}
        return _made(config, _checked_table(config, given, str(path)), str(path))
    except UsageError as error:
        raise FormatError(error.message, "the file is damaged: remove it and run the stage again") from error


def _made(config: type[Config], values: dict[str, Any], where: str) -> Config:
    names = [f.name for f in dataclasses.fields(config) if f.default is REQUIRED]  # type: ignore[arg-type]
    missing = [name for name in names if name not in values and name not in TABLES]
    if missing:
        raise UsageError(f"{where}: missing key {missing[0]!r}", f"add {missing[0]} = ...")
    tables: dict[str, Any] = {name: _made(TABLES[name], values.get(name, {}), f"{where} [{name}]") for name in names if name in TABLES}
    return config(**{**values, **tables})


def _checked_table(config: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values, each of its field's type; a required one may be missing."""
    types = get_type_hints(config)
    descriptions = {field.name: field.metadata for field in dataclasses.fields(config)}
    found = {key.replace("-", "_"): value for key, value in values.items()}
    for name, value in found.items():
        if name not in types:
            raise UsageError(f"{where}: unknown key {name!r}", f"known keys: {', '.join(types)}")
        found[name] = _checked(value, types[name], where, name, descriptions[name])
    return found


def _checked(value: Any, kind: Any, where: str, name: str, metadata: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        if isinstance(value, Mapping):
            return _checked_table(kind, value, f"{where} [{name}]")  # type: ignore[arg-type]
        raise UsageError(f"{where}: {name} is {value!r}, expected a table", f"write [{name}] on a line of its own, its keys below")
    try:
        return checked(value, kind, name, metadata)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", error.hint) from None


def _from_folder(config: type, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values, their relative paths taken from the folder. The name of a model that is not there stays as it is."""
    found = dict(values)
    for field in dataclasses.fields(config):
        value, path = values.get(field.name), field.metadata["path"]
        if field.name in TABLES and value is not None:
            found[field.name] = _from_folder(TABLES[field.name], value, folder)
        elif path and isinstance(value, tuple):
            found[field.name] = tuple(str(_placed(item, path, folder)) for item in value)
        elif path and value is not None:
            found[field.name] = type(value)(_placed(value, path, folder))
    return found


def _placed(value: str | Path, path: str, folder: Path) -> str | Path:
    if str(value).startswith("irds:") or is_remote(str(value)):  # a data set of ir_datasets or an object in a store, no file
        return value
    placed = folder / Path(value).expanduser()
    return placed if path == "file" or (value and placed.exists()) else value


def default_file(preset: Mapping[str, Said] = MappingProxyType({})) -> str:
    """A run file with every setting and what it means. What has no default is an example: filled in, or commented out.

    Arguments:
        preset: for the run ("") and each table, values to write and where they come from.
    """
    parts = [HEAD, *_settings(RunConfig, preset.get("", {}))]
    for field in dataclasses.fields(RunConfig):
        if field.name in TABLES:
            said = preset.get(field.name, {})
            parts += [f"[{field.name}]\n# {field.metadata['help']}\n", *_settings(TABLES[field.name], said)]
    return "\n".join(parts)


def _settings(config: type, preset: Said) -> Iterator[str]:
    hints = get_type_hints(config)
    for field in dataclasses.fields(config):
        if field.name in TABLES:
            continue
        meta, named = field.metadata, field.default not in (REQUIRED, None)
        said = f"{meta['help']} (default: {meta['found']})" if meta["found"] else meta["help"]
        comment = textwrap.fill(said, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        given, source = preset.get(field.name, (field.default if named else meta["example"], ""))
        value = json.dumps(given, ensure_ascii=False)
        empty = field.default is REQUIRED and not source
        notes = [*choices_of(hints[field.name]), meta["unit"], "to be filled in" if empty else "", source and f"the paper's: {source}"]
        note = ", ".join(filter(None, notes))
        yield f"{comment}\n{'# ' if field.default is None and not source else ''}{field.name} = {value}{note and f'  # {note}'}\n"
