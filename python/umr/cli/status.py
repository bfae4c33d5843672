"""`umr status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.table import Table

from umr.cli.options import Work, option
from umr.cli.output import Result
from umr.data.workspace import Workspace, open_workspace
from umr.errors import MismatchError
from umr.layout import near_index
from umr.manifest import read_manifest, require_whole
from umr.progress import Reporter

AGAIN = {
    "means": "remove its folder: the means are estimated again", "languages": "remove its folder: the languages are found again",
    "mine": "run the stage again with --force", "label": "run the stage again with --force",
}  # fmt: skip
NEXT = {"": "mine", "mine": "label", "label": "train", "train": "mine"}


def status(
    work: Work,
    reporter: Reporter,
    verify: Annotated[
        bool,
        option(
            "--verify",
            help="Read every kept file of vectors, means, languages, candidates and labels, and compare checksums.",
            panel="Output",
        ),
    ] = False,
) -> Result:
    """Show what a work folder holds, and which command is next."""
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
    stores = sorted(layout.embeddings.glob("*/manifest.json"))
    manifests = [(path, "means" if path.parent.name.startswith("means-") else "embeddings") for path in stores]
    manifests += [(path, "languages") for path in sorted(layout.corpus.glob("languages-*/manifest.json"))]
    for place in layout.rounds():
        manifests += [(path, kind) for path, kind in ((place.mined, "mine"), (place.labelled, "label")) if path.exists()]
    for path, kind in manifests:
        require_whole(path, read_manifest(path, kind), AGAIN.get(kind, "remove that file and run the stage again"))
    indexes = [path for path in (near_index(store.parent) / "manifest.json" for store in stores) if path.exists()]
    for path in indexes:
        _require_sizes(path)
    reporter.say(f"{len(manifests) + len(indexes)} manifests: every file is as it was written")


def _require_sizes(manifest: Path) -> None:
    """Refuse an approximate index with a file of another size: all that its manifest knows of its files."""
    for name, size in read_manifest(manifest, "hnsw")["bytes"].items():
        path = manifest.with_name(name)
        found = path.stat().st_size if path.exists() else None
        if found != size:
            raise MismatchError(f"{path} holds {found} bytes, expected {size}", "remove its folder: the index is built again")
