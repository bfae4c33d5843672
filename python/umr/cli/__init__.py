"""The command line: one file a verb; an option becomes a field of a configuration, the stage does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from umr.cli import demo, evaluate, label, mine, models, run, search, status, train

app = typer.Typer(
    name="umr",
    help="Train multilingual dense retrievers without labelled pairs: mine, label, train, and again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for panel, modules in {
    "The loop": (mine, label, train, run),
    "Around it": (evaluate, search, status, models, demo),
}.items():
    for module in modules:
        app.command(module.NAME, rich_help_panel=panel)(module.command)


def _version(value: bool) -> None:
    if value:
        from umr import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")] = False,
) -> None:
    """Train multilingual dense retrievers without labelled pairs: mine, label, train, and again."""


def main() -> None:
    """The console script `umr`."""
    app()
