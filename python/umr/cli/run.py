"""`umr init` and `umr run`: the whole run in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umr.cli.options import Workers, option
from umr.cli.output import Result
from umr.errors import InputError
from umr.presets import Preset
from umr.presets import preset as settings_of
from umr.progress import Reporter
from umr.rounds import run as loop
from umr.run_file import default_file, read_config
from umr.storage import storage_error

ForceFrom = Annotated[
    tuple[int, str] | None,
    option(
        "--force-from",
        help="Do this stage (mine, label, train) of this round and all after it again. What was trained is moved aside.",
        unit="round stage", panel="Input",
    ),
]  # fmt: skip


PresetOption = Annotated[
    Preset | None,
    option(
        "--preset", help="Settings of the paper's run on a data set, each with its source (xor-retrieve, xor-full).",
        unit="choice", panel="Input",
    ),
]  # fmt: skip


def init(
    reporter: Reporter,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("run.toml"),
    preset: PresetOption = None,
) -> Result:
    """Write a TOML file with every setting of every stage: its default, its unit and what it does."""
    try:
        with file.open("x", encoding="utf-8") as handle:
            handle.write(default_file(settings_of(preset) if preset else {}))
    except FileExistsError as error:
        raise InputError(f"{file} is there already, and is not written over", "give another name: umr init OTHER.toml") from error
    except OSError as error:
        raise storage_error(error, file, "write") from error
    what = "see that its files are there" if preset else "fill in passages, queries, the encoder's model and the language model"
    lines = [f"{file} is written: {what}", f"next: umr run {file}"]
    return Result({"file": str(file)}, [*lines])


def run(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file; `umr init` writes one.", show_default=False)],
    reporter: Reporter,
    force_from: ForceFrom = None,
    workers: Workers = None,
) -> Result:
    """Run all rounds of a TOML file. Run again, it goes on where it stopped."""
    settings = read_config(config)
    workspace = loop(settings, reporter, force_from)
    folder = workspace.encoder_of(settings.rounds).model
    return Result({"rounds": settings.rounds, "encoder": folder}, [f"{settings.rounds} rounds done: the encoder is {folder}"])
