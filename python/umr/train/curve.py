"""The course of a training: kept as JSON lines, and told to trackers: TensorBoard, W&B, trackio, or an object of the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from umr.config import Track
from umr.errors import MissingExtraError
from umr.storage import beside, storage_error


class Tracker(Protocol):
    """What is told how a training goes."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take some values of a step, counted from 1; 0 is the encoder before training."""

    def finish(self) -> None:
        """The training ended, or was stopped."""


class Curve:
    """A file with one JSON object a line: `step` and the values.

    Arguments:
        path: the file.
        steps: finished ones; lines of later steps, of a process that was killed, are taken back.
    """

    def __init__(self, path: Path, steps: int) -> None:
        self.path = path
        kept = []
        if steps and path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # a torn last line
                    kept += [line] if json.loads(line)["step"] <= steps else []
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Append a line.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        except OSError as error:
            raise storage_error(error, self.path, "write") from error

    def finish(self) -> None:
        """Every line is there already."""


class _TensorBoard:
    def __init__(self, folder: Path, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder), purge_step=steps + 1)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """See `Tracker`."""
        self.writer.close()


def tracker_for(track: Track, folder: Path, steps: int, config: Mapping[str, Any]) -> list[Tracker]:
    """The tracker that the settings name, begun.

    Arguments:
        track: its name, or none.
        folder: of the round; TensorBoard's files go into `tensorboard` there.
        steps: that were made before.
        config: of the training, which the tracker shows.

    Raises:
        MissingExtraError: its package is not installed.
    """
    try:
        if track == "none":
            return []
        if track == "tensorboard":
            return [_TensorBoard(folder / "tensorboard", steps)]
        run: Tracker = import_module(track).init(project="umr", name=folder.absolute().parent.name, config=dict(config))
        return [run]
    except ImportError as error:
        raise MissingExtraError(f"track is {track}, but its package is not installed", f"pip install {track}") from error
