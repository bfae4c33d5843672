"""`umr mine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from umr.cli.options import Force, Lang, Passages, Queries, Round, Work, option
from umr.cli.output import Result
from umr.config import EncoderConfig, MineConfig
from umr.errors import UsageError
from umr.layout import WorkLayout
from umr.manifest import read_manifest
from umr.progress import Reporter


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
    write_run: Annotated[
        Path | None, option(help="Write the candidates as a TREC run too, for other tools.", unit="file", panel="Output")
    ] = None,
) -> Result:
    """Find the candidate passages of every query, with the encoder of the newest round.

    The first call names --passages, --queries and --encoder. Later calls go on with them, and with the encoder that was trained last.
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
    queries_found, top_k = found.rows.shape
    data: dict[str, Any] = {"round": place.number, "queries": queries_found, "top_k": top_k, "candidates": str(place.candidates)}
    data |= {"counts": counts} if (counts := read_manifest(place.mined, "mine").get("counts")) else {}
    size = f"{top_k}" if found.present.all() else f"up to {top_k}"
    lines = [f"round {place.number}: {size} candidates for each of {queries_found:,} queries in {place.candidates}"]
    if write_run is not None:
        from umr.data.trec import write_run as write

        write(write_run, found, workspace.passages)
        data["run"] = str(write_run)
        lines.append(f"the same as a TREC run in {write_run}")
    return Result(data, [*lines])
