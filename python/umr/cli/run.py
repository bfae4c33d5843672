"""`umr run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.progress import Reporter

NAME = "run"


def run(
    config: Annotated[Path, typer.Argument(help="A TOML file (docs/formats.md has an example).", show_default=False)],
    reporter: Reporter,
) -> Result:
    """Run the rounds of a TOML file in a row; run again, it goes on where it stopped."""
    from umr.rounds import read_config
    from umr.rounds import run as loop

    settings = read_config(config)
    workspace = loop(settings, reporter)
    folder = workspace.encoder_of(settings.rounds).model
    return Result({"rounds": settings.rounds, "encoder": folder}, [f"{settings.rounds} rounds done: the encoder is {folder}"])


command = make_command(run)
