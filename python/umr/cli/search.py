"""`umr search`: what the encoder of a round finds."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umr.cli.options import Device, Lang, Work, option
from umr.cli.output import Result
from umr.config import Index
from umr.data.workspace import open_workspace
from umr.errors import UsageError
from umr.progress import Reporter
from umr.progress.terminal import clean

if TYPE_CHECKING:
    from umr.retrieve import Hit, Which

INDEX = "How to search: exact, or hnsw, an approximate index, whose recall is said. (exact, hnsw; default: {})"


def round_option(help: str) -> Any:
    """The option `--round` of a command that uses an encoder."""
    return option("--round", help=help, unit="number or first", panel="Input")


def search(
    work: Work,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The query, in quotes.", show_default=False)],
    reporter: Reporter,
    top_k: Annotated[int, option("--top-k", "-k", help="Passages shown. (default: 5)", unit="passages", min=1, panel="Output")] = 5,
    lang: Lang = None,
    round: Annotated[str | None, round_option("Search with the encoder trained in this round, or the first. (default: the newest)")] = None,
    device: Device = "auto",
    index: Annotated[Index | None, option(help=INDEX.format("as the round was mined"), unit="choice", panel="Resources")] = None,
) -> Result:
    """Show the top passages of a query."""
    from umr.retrieve import search as find

    hits = find(open_workspace(work, reporter), query, top_k, lang, which_encoder(round), device, reporter, index)
    return Result({"query": query, "hits": [asdict(h) for h in hits]}, [_shown(hit) for hit in hits])


def which_encoder(round: str | None) -> Which | None:
    """The encoder that `--round` names."""
    if round is None:
        return None
    if round == "first":
        return "first"
    if not round.isdigit():
        raise UsageError(f"--round is {round!r}, expected a number or `first`", "`umr status` shows the rounds")
    return int(round)


def _shown(hit: Hit) -> str:
    text = textwrap.fill(textwrap.shorten(clean(hit.text), 400, placeholder=" ..."), 96, initial_indent="   ", subsequent_indent="   ")
    return f"{hit.rank}. {clean(hit.title or hit.passage_id)}  ({clean(hit.passage_id)}, {hit.score:.4f})\n{text}\n"
