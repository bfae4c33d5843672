"""`umr status`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from umr.cli.arguments import Work
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.data.workspace import Workspace, open_workspace
from umr.manifest import read_manifest, require_whole
from umr.progress import Reporter

NAME = "status"
NEXT = {"": "mine", "mine": "label", "label": "train", "train": "mine"}


def status(
    work: Work,
    reporter: Reporter,
    verify: Annotated[bool, typer.Option("--verify", help="Read every embedding, candidate and label file and compare checksums.")] = False,
) -> Result:
    """Say what a work folder holds, and what comes next."""
    workspace = open_workspace(work, reporter)
    if verify:
        _verify(workspace, reporter)
    rounds = workspace.layout.rounds()
    last = rounds[-1].stage if rounds else ""
    table = Table("round", "mined", "labelled", "trained", title=str(work))
    for place in rounds:
        table.add_row(
            str(place.number),
            *("yes" if path.exists() else "-" for path in (place.mined, place.labelled, place.trained)),
        )
    data = {
        "passages": len(workspace.passages), "queries": len(workspace.queries), "languages": sorted(set(workspace.queries.langs)),
        "rounds": [{"round": p.number, "stage": p.stage} for p in rounds], "next": NEXT[last],
    }  # fmt: skip
    return Result(data, [table, f"next: umr {NEXT[last]} {work}"])


def _verify(workspace: Workspace, reporter: Reporter) -> None:
    layout = workspace.layout
    manifests = [(path, "embeddings") for path in sorted(layout.embeddings.glob("*/manifest.json"))]
    for place in layout.rounds():
        manifests += [(path, kind) for path, kind in ((place.mined, "mine"), (place.labelled, "label")) if path.exists()]
    for path, kind in manifests:
        require_whole(path, read_manifest(path, kind), "remove that file and run the stage again; candidates and labels: with --force")
    reporter.say(f"{len(manifests)} manifests: every file is as it was written")


command = make_command(status)
