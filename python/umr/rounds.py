"""The loop over rounds: mine, label, train, and again with the better encoder (paper, figure 1).

A killed run continues where it stopped: every stage of every round is skipped when it is finished.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig, from_mapping
from umr.data.workspace import Workspace, create_workspace
from umr.errors import FormatError, UsageError
from umr.label import label
from umr.mine import mine
from umr.progress import Reporter, Silent
from umr.storage import storage_error
from umr.train import train

TABLES = {"encoder", "mine", "label", "train"}
MODELS = ("model", "passage_model", "lm", "also", "also_encoder")  # keys whose values may be paths
KEYS = {"work": str, "passages": list, "queries": list, "rounds": int, "lang": str}
NAMED = {str: "a string", list: "a list of strings", int: "a whole number"}


@dataclass(frozen=True)
class RunConfig:
    """A whole run, as a TOML file says it.

    Arguments:
        work: the work folder.
        passages, queries: files or globs.
        encoder, mine, label, train: the stages' settings.
        rounds: rounds of mine, label, train.
        lang: the language of every query, or None.
    """

    work: Path
    passages: tuple[str, ...]
    queries: tuple[str, ...]
    encoder: EncoderConfig
    mine: MineConfig
    label: LabelConfig
    train: TrainConfig
    rounds: int = 1
    lang: str | None = None


def read_config(path: Path) -> RunConfig:
    """Read a run from a TOML file; its relative paths are relative to the file.

    Raises:
        InputError: there is no such file.
        FormatError: it is not TOML; the message names the line.
        UsageError: an unknown key, a missing one, a value of the wrong type.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise storage_error(error, path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not valid TOML: {error}", "see docs/formats.md for an example") from error
    _check(path, value)
    beside = path.parent
    tables = {
        name: from_mapping(kind, _beside(beside, name, value.get(name, {})), f"{path} [{name}]")  # type: ignore[type-var]
        for name, kind in (
            ("encoder", EncoderConfig),
            ("mine", MineConfig),
            ("label", LabelConfig),
            ("train", TrainConfig),
        )
    }
    return RunConfig(
        work=beside / Path(value["work"]).expanduser(),
        passages=tuple(str(beside / Path(p).expanduser()) for p in value["passages"]),
        queries=tuple(str(beside / Path(q).expanduser()) for q in value["queries"]),
        rounds=value.get("rounds", 1),
        lang=value.get("lang"),
        **tables,  # type: ignore[arg-type]
    )


def _beside(folder: Path, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with its relative paths taken from `folder`; a model that is no folder or file there stays the name that it is."""
    found = dict(table)
    for key, value in table.items():
        if key.replace("-", "_") in MODELS:
            found[key] = [_model(folder, item) for item in value] if isinstance(value, list) else _model(folder, value)
        elif name == "label" and key == "store" and isinstance(value, str):
            found[key] = str(folder / value)
        elif name == "mine" and key == "run" and isinstance(value, list):
            found[key] = [str(folder / Path(item).expanduser()) if isinstance(item, str) and item else item for item in value]
    return found


def _model(folder: Path, value: Any) -> Any:
    return str(folder / value) if isinstance(value, str) and value and (folder / value).exists() else value


def _check(path: Path, value: Mapping[str, Any]) -> None:
    unknown = [key for key in value if key not in KEYS and key not in TABLES]
    if unknown:
        raise UsageError(f"{path}: unknown key {unknown[0]!r}", f"known: {', '.join([*KEYS, *sorted(TABLES)])}")
    for key, kind in KEYS.items():
        if key in value and type(value[key]) is not kind:
            raise UsageError(f"{path}: {key} is {value[key]!r}, expected {NAMED[kind]}")
        if kind is list and not all(isinstance(item, str) and item for item in value.get(key, [])):
            raise UsageError(f"{path}: {key} is {value[key]!r}, expected {NAMED[kind]}")
        if key not in value and key in ("work", "passages", "queries"):
            raise UsageError(f"{path}: missing key {key!r}", f"add {key} = ...")
    for table in sorted(TABLES & value.keys()):
        if not isinstance(value[table], dict):
            raise UsageError(
                f"{path}: {table} is {value[table]!r}, expected a table", f"write [{table}] on a line of its own, its keys below"
            )
    if value.get("rounds", 1) < 1:
        raise UsageError(f"{path}: rounds is {value['rounds']}, expected at least 1")


def run(config: RunConfig, reporter: Reporter | None = None) -> Workspace:
    """Run the rounds in a row; what is finished is skipped.

    Arguments:
        config: everything.
        reporter: shows what is done.

    Returns:
        the work folder; its newest encoder is `workspace.encoder_of(config.rounds).model`.
    """
    reporter = reporter or Silent()
    workspace = create_workspace(config.work, config.passages, config.queries, config.encoder, config.lang, reporter)
    for number in range(config.rounds):
        mine(workspace, config.mine, number, reporter)
        label(workspace, config.label, number, reporter)
        train(workspace, config.train, number, reporter)
    return workspace
