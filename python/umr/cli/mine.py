"""`umr mine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from umr.cli.arguments import Force, Lang, Passages, Queries, Round, Work
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.config import EncoderConfig, MineConfig
from umr.data.candidates import Candidates
from umr.errors import UsageError
from umr.layout import WorkLayout
from umr.manifest import read_manifest
from umr.progress import Reporter

NAME = "mine"
WriteRun = Annotated[
    Path | None,
    typer.Option("--write-run", help="Write the candidates as a TREC run too, for other tools. (default: not written)", show_default=False),
]


def mine(
    work: Work,
    encoder: EncoderConfig | None,
    config: MineConfig,
    reporter: Reporter,
    passages: Passages = None,
    queries: Queries = None,
    lang: Lang = None,
    round: Round = None,
    force: Force = False,
    write_run: WriteRun = None,
) -> Result:
    """Find the candidate passages of every query, with the encoder of the newest round.

    The first call names --passages, --queries and --encoder; later ones go on with them, and with the encoder that
    training has made.
    """
    from umr.data.workspace import create_workspace, open_workspace
    from umr.mine import mine as stage

    if passages and queries and encoder:
        workspace = create_workspace(work, passages, queries, encoder, lang, reporter)
    elif passages or queries or encoder or not WorkLayout(work).manifest.exists():
        missing = [n for n, v in (("--passages", passages), ("--queries", queries), ("--encoder", encoder)) if not v]
        raise UsageError(f"a new work folder needs {', '.join(missing)}", "umr mine WORK --passages P --queries Q --encoder M")
    elif lang:
        raise UsageError("--lang is settled when the work begins", "leave it out to go on, or begin in a new work folder")
    else:
        workspace = open_workspace(work, reporter)
    found = stage(workspace, config, round, reporter, force)
    place = next(r for r in reversed(workspace.layout.rounds()) if r.mined.exists()) if round is None else workspace.layout.round(round)
    data: dict[str, Any] = {
        "round": place.number,
        "queries": len(found.rows),
        "top_k": found.rows.shape[1],
        "candidates": str(place.candidates),
    }
    data |= {"counts": counts} if (counts := read_manifest(place.mined, "mine").get("counts")) else {}
    lines = [f"round {place.number}: {_size(found)} candidates for each of {len(found.rows):,} queries in {place.candidates}"]
    if write_run is not None:
        from umr.data.trec import write_run as write

        write(write_run, found, workspace.passages)
        data["run"] = str(write_run)
        lines.append(f"the same as a TREC run in {write_run}")
    return Result(data, [*lines])


def _size(found: Candidates) -> str:
    return str(found.rows.shape[1]) if found.present.all() else f"up to {found.rows.shape[1]}"


command = make_command(mine)
