"""`umr status`."""

from __future__ import annotations

from rich.table import Table

from umr.cli.arguments import Work
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.data.workspace import open_workspace
from umr.progress import Reporter

NAME = "status"
NEXT = {"": "mine", "mine": "label", "label": "train", "train": "mine"}


def status(work: Work, reporter: Reporter) -> Result:
    """Say what a work folder holds, and what comes next."""
    workspace = open_workspace(work, reporter)
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


command = make_command(status)
