"""The command line: a function for each verb; an option becomes a field of a configuration, and the stage does the work."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from umr.cli import data, evaluate, included, label, mine, run, search, status, train
from umr.cli.options import Command, Group, command, option
from umr.cli.output import obey_signals

MORE = "There are more settings: `umr init` writes a file with all of them, and --config reads it."
PANELS: dict[str, dict[str, Callable[..., Any]]] = {
    "The loop": {"mine": mine.mine, "label": label.label, "train": train.train},
    "The loop in one file": {"init": run.init, "run": run.run, "plan": run.plan},
    "Results": {"eval": evaluate.evaluate, "search": search.search, "status": status.status},
    "Models and data that come with umr": {"models": included.models, "demo": included.demo},
}

app = typer.Typer(
    name="umr",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
about_data = typer.Typer(
    cls=Group, no_args_is_help=True, help="Check files before hours are spent on them; write labels and encoders for other toolkits."
)
DATA: dict[str, Callable[..., Any]] = {"check": data.check, "export": data.export}
for name, function in DATA.items():
    about_data.command(name, cls=Command)(command(function))
for panel, functions in PANELS.items():
    for name, function in functions.items():
        app.command(name, cls=Command, rich_help_panel=panel, epilog=MORE if panel == "The loop" else None)(command(function))
app.add_typer(about_data, name="data", rich_help_panel="Results")


def _version(value: bool) -> None:
    if value:
        from umr import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Train multilingual dense retrievers without labelled pairs: mine, label, train, and again."""


def main() -> None:
    """The console script `umr`."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: what is opened next would take its number, and be written over by what is printed
            os.open(os.devnull, os.O_RDWR)
    obey_signals()
    app()
