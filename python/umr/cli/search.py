"""`umr search`."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from umr.cli.arguments import Device, Lang, Work
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.config import Index
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr.retrieve import Hit

NAME = "search"


def search(
    work: Work,
    question: Annotated[str, typer.Argument(help="The question, in quotes.", show_default=False)],
    reporter: Reporter,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Passages shown.")] = 5,
    lang: Lang = None,
    round: Annotated[
        int | None,
        typer.Option("--round", help="Search with the encoder of this round. (default: the newest)", show_default=False),
    ] = None,
    device: Device = "auto",
    index: Annotated[
        Index | None,
        typer.Option(help="exact, or hnsw: approximate, its recall is said. (default: as the round was mined)", show_default=False),
    ] = None,
) -> Result:
    """Show the top passages of a question."""
    from umr.data.workspace import open_workspace
    from umr.retrieve import search as find

    hits = find(open_workspace(work, reporter), question, top_k, lang, round, device, reporter, index)
    return Result({"question": question, "hits": [asdict(h) for h in hits]}, [_shown(hit) for hit in hits])


def _shown(hit: Hit) -> str:
    text = textwrap.fill(textwrap.shorten(hit.text, 400, placeholder=" ..."), 96, initial_indent="   ", subsequent_indent="   ")
    return f"{hit.rank}. {hit.title or hit.passage_id}  ({hit.passage_id}, {hit.score:.4f})\n{text}\n"


command = make_command(search)
