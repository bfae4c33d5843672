"""What was trained is never deleted: before a stage is done again it is moved aside, with what it was trained from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from umr.layout import RoundLayout
from umr.progress import Reporter
from umr.storage import rename


def make_room(place: RoundLayout, stage: str, reporter: Reporter) -> None:
    """Before a stage writes: its older files go, and those of the stages after it.

    Where something was trained from them, all are moved to a folder of their own, which is named.

    Arguments:
        place: the round.
        stage: `mine`, `label` or `train`.
        reporter: told where they are.
    """
    _finish_move(place)
    older = {"mine": [place.mined, place.labelled, place.candidates, place.labels], "label": [place.labelled, place.labels], "train": []}
    if stage == "train":  # whose state is still needed; an encoder without a manifest is one that it had not finished writing
        trained = [place.trained, place.encoder] if place.trained.exists() else []
    else:
        trained = [place.trained, place.encoder, *([place.training] if place.training_state.exists() else [])]
    if any(path.exists() for path in trained):
        move_aside(place, [*trained, *older[stage]], f"what was trained in round {place.number}", reporter)
    for path in older[stage]:
        path.unlink(missing_ok=True)
    if stage != "train":
        shutil.rmtree(place.training, ignore_errors=True)


def move_aside(place: RoundLayout, paths: Sequence[Path], what: str, reporter: Reporter) -> None:
    """Move files and folders of a round, those that exist, into its next free folder `aside-N`.

    Arguments:
        place: the round.
        paths: manifests first: what is left of a move that is broken off must not look finished.
        what: they are, in words.
        reporter: told where they are.
    """
    folder = place.next_aside()
    folder.mkdir()
    for path in paths:
        if path.exists():
            rename(path, folder / path.name)
    reporter.warn(f"{what} is kept in {folder}")


def _finish_move(place: RoundLayout) -> None:
    """An encoder whose manifest was moved when the process was killed follows it."""
    if place.encoder.exists() and not place.trained.exists():
        for folder in place.asides()[-1:]:
            if (folder / place.trained.name).exists() and not (folder / place.encoder.name).exists():
                rename(place.encoder, folder / place.encoder.name)
