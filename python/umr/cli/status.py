"""`umr status`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.console import RenderableType
from rich.table import Table

from umr.cli.options import Work, option, words_of
from umr.cli.output import Result
from umr.config import LabelConfig, MineConfig, TrainConfig
from umr.data.workspace import Workspace, open_workspace, require_work_folder
from umr.errors import InputError, MismatchError
from umr.layout import WorkLayout, near_index
from umr.manifest import read_manifest, require_whole
from umr.progress import Reporter
from umr.progress.terminal import clean
from umr.work.lock import writer_of
from umr.work.state import RoundState, states

AGAIN = {
    "means": "remove its folder: the means are estimated again", "languages": "remove its folder: the languages are found again",
    "mine": "run the stage again with --force", "label": "run the stage again with --force",
}  # fmt: skip
SUGGESTED_LM = "pypi:gemma-3-270m"
CONFIGS: dict[str, type] = {"mine": MineConfig, "label": LabelConfig, "train": TrainConfig}


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
    """Show what a work folder holds, what of it is damaged, and which command is next. Exit code 1 where something is damaged."""
    layout = WorkLayout(work)
    require_work_folder(layout)
    first, broken = str(read_manifest(layout.manifest, "work")["encoder"]["model"]), list[str]()
    data: dict[str, Any] = {}
    try:
        workspace = open_workspace(work, reporter)
        data = {
            "passages": len(workspace.passages), "queries": len(workspace.queries), "languages": sorted(set(workspace.queries.langs)),
        }  # fmt: skip
    except InputError as error:
        broken = [f"{error.message} ({error.hint})"]
    if verify and not broken:
        _verify(workspace, reporter)
    rounds, writer = states(layout, first), writer_of(layout)
    damaged = [what for state in rounds for sentences in state.damaged.values() for what in sentences]
    stage, command = _next(layout, rounds)
    data |= {"rounds": [_data(state) for state in rounds], "damaged": [*broken, *damaged], "next": stage, "command": command}
    data |= {"writer": writer} if writer else {}
    lines: list[RenderableType] = [_table(work, rounds)]
    lines += [f"in work: {writer}"] if writer else []
    lines += [f"kept aside: {folder}" for state in rounds for folder in state.aside]
    lines += [f"damaged: {what}" for what in (*broken, *damaged)]
    return Result(data, [*lines, f"next: {command}"], 1 if broken or damaged else 0)


def _table(work: Path, rounds: Sequence[RoundState]) -> Table:
    table = Table("round", "mined with", "candidates", "labelled by", "trained", title=clean(str(work)))
    for state in rounds:
        steps = "-" if not state.steps else "step {:,} of {:,}" if "training" in state.manifests else "{:,} steps"
        mined = f"{state.top_k or 'yes'}" if "mine" in state.manifests else "-"
        labelled = ", ".join(state.lms) or ("yes" if "label" in state.manifests else "-")
        table.add_row(str(state.number), clean(state.encoder), mined, clean(labelled), steps.format(*state.steps or ()))
    return table


def _data(state: RoundState) -> dict[str, Any]:
    steps, total = state.steps or (None, None)
    return {
        "round": state.number, "stage": state.stage, "encoder": state.encoder, "top_k": state.top_k, "lms": state.lms,
        "steps": steps, "total": total, "aside": [str(folder) for folder in state.aside],
    }  # fmt: skip


def _next(layout: WorkLayout, rounds: Sequence[RoundState]) -> tuple[str, str]:
    """The stage that comes next, and its command with the options that it, or the same stage of the round before, was called with."""
    at = next((state for state in rounds if state.todo), None)
    stage = at.todo if at else "mine"
    values = next((found for state in reversed(rounds) if (found := state.options(stage))), {})
    if stage == "label":
        values = {"lm": SUGGESTED_LM, **values}
    words = ["umr", stage, str(layout.folder)]
    words += ["--round", str(at.number)] if at and (at is not rounds[-1] or at.damaged) else []
    words += ["--force"] if at and stage in at.damaged else []
    return stage, shlex.join([*words, *words_of(CONFIGS[stage], values)])


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
