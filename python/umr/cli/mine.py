"""`umr mine`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from umr.cli.forecast import DryRun, mining
from umr.cli.options import Force, Lang, Passages, Queries, Rank, Round, Work, Workers, option
from umr.cli.output import Result, unfinished
from umr.config import EncoderConfig, MineConfig
from umr.data.inputs import as_inputs
from umr.data.trec import write_run as write
from umr.data.workspace import Workspace, create_workspace, open_workspace, round_for
from umr.errors import UsageError
from umr.layout import WorkLayout
from umr.manifest import read_manifest
from umr.mine import forecast_mining
from umr.mine import mine as stage
from umr.progress import Reporter
from umr.together import mine_together, opened, ranks_for

WriteRun = Annotated[Path | None, option("--write-run", help="Write the candidates as a TREC run too.", unit="file", panel="Output")]


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
    dry_run: DryRun = False,
    rank: Rank = None,
    workers: Workers = None,
) -> Result:
    """Find the candidate passages of every query, with the encoder of the newest round.

    The first call names --passages, --queries and --encoder. Later calls go on with them, and with the encoder that was trained last.
    """
    ranks = ranks_for(rank, force or dry_run)
    workspace = opened(work, ranks, lambda: _workspace(work, passages, queries, encoder, lang, reporter))
    if dry_run:
        number = round_for(workspace.layout, "mine", round).number
        forecast = forecast_mining(workspace, config, number, reporter)
        return Result({"round": number, "forecast": asdict(forecast)}, mining(number, forecast))
    found = mine_together(workspace, config, round, reporter, ranks) if ranks else stage(workspace, config, round, reporter, force)
    if found is None:
        return unfinished(ranks)
    place = next(r for r in reversed(workspace.layout.rounds()) if r.mined.exists()) if round is None else workspace.layout.round(round)
    count, top_k = found.rows.shape
    data: dict[str, Any] = {"round": place.number, "queries": count, "top_k": top_k, "candidates": str(place.candidates)}
    data |= {"counts": counts} if (counts := read_manifest(place.mined, "mine").get("counts")) else {}
    size = f"{top_k}" if found.present.all() else f"up to {top_k}"
    lines = [f"round {place.number}: {size} candidates for each of {count:,} queries in {place.candidates}"]
    if write_run is not None:
        write(write_run, found, workspace.passages)
        data["run"] = str(write_run)
        lines.append(f"the same as a TREC run in {write_run}")
    return Result(data, [*lines])


def _workspace(
    work: Path, passages: Passages, queries: Queries, encoder: EncoderConfig | None, lang: str | None, reporter: Reporter
) -> Workspace:
    """The work folder: made where its inputs are named, else opened."""
    if passages and queries and encoder:
        return create_workspace(work, as_inputs(passages), as_inputs(queries), encoder, lang, reporter)
    if passages or queries or encoder or not WorkLayout(work).manifest.exists():
        missing = [n for n, v in (("--passages", passages), ("--queries", queries), ("--encoder", encoder)) if not v]
        raise UsageError(f"a new work folder needs {', '.join(missing)}", "umr mine WORK --passages P --queries Q --encoder M")
    if lang:
        raise UsageError("--lang is settled when the work begins", "leave it out to go on, or begin in a new work folder")
    return open_workspace(work, reporter)
