"""Stages done by several processes: ranks that share a work folder, or the processes of one torchrun.

Mining and labelling share nothing but files: ranks take pieces of the passages and batches of the plan (`umr.work.ranks`), and the last
one does what is left, which is the stage itself: it finds every vector and every score. Training computes one batch on all processes
(`umr.models.group`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals
from typing import TypeVar

from umr.config import LabelConfig, MineConfig, TrainConfig
from umr.data.candidates import Candidates
from umr.data.labels import Labels
from umr.data.workspace import Workspace, round_for
from umr.errors import LockedError, UsageError
from umr.label import label, share_labelling
from umr.layout import WorkLayout
from umr.mine import mine, share_mining
from umr.progress import Reporter
from umr.progress.console import Console
from umr.train import train
from umr.work.ranks import LOOK_SECONDS, Ranks, alone, ranks_of

T = TypeVar("T")
RESTARTS = 10  # of all processes after one of them was killed; what is finished is not done again


def ranks_for(given: str | None, alone: bool) -> Ranks | None:
    """The place of this process; refused for what one process does by itself.

    Arguments:
        given: as `--rank` has it, or None.
        alone: whether the call is of that kind.

    Raises:
        UsageError: several processes were asked for.
    """
    ranks = ranks_of(given)
    if ranks and alone:
        raise UsageError(
            "--force, --force-from and --dry-run are for one process",
            "leave --rank and --workers out: vectors and scores are kept, so --force is quick",
        )
    return ranks


def opened(folder: Path, ranks: Ranks | None, open_work: Callable[[], Workspace]) -> Workspace:
    """A work folder that one rank makes and the others open.

    Arguments:
        folder: of the work.
        ranks: the place of this process, or None.
        open_work: makes or opens it.
    """
    if ranks is None:
        return open_work()
    layout = WorkLayout(folder)
    with alone(layout.entrance):
        return open_work()


def mine_together(workspace: Workspace, config: MineConfig, number: int | None, reporter: Reporter, ranks: Ranks) -> Candidates | None:
    """Mine a round with other ranks.

    Arguments:
        workspace, config, number, reporter: as `umr.mine` takes them.
        ranks: the place of this process.

    Returns:
        the candidates; None where other ranks are still at work, the last of which finishes the round.

    Raises:
        MismatchError: the other ranks began with something else.
        as `umr.mine`.
    """
    place = round_for(workspace.layout, "mine", number)
    if not place.mined.exists():
        share_mining(workspace, config, place.number, ranks, reporter)
    return _finished(lambda: mine(workspace, config, place.number, reporter), ranks, reporter)


def label_together(workspace: Workspace, config: LabelConfig, number: int | None, reporter: Reporter, ranks: Ranks) -> Labels | None:
    """Label a round with other ranks.

    Arguments, returns, raises: as `mine_together`, for `umr.label`.
    """
    place = round_for(workspace.layout, "label", number)
    if not place.labelled.exists():
        share_labelling(workspace, config, place.number, ranks, reporter)
    return _finished(lambda: label(workspace, config, place.number, reporter), ranks, reporter)


def train_together(
    workspace: Workspace, config: TrainConfig, number: int | None, reporter: Reporter, force: bool = False, *, ranks: Ranks
) -> Path:
    """Train a round on all processes of one torchrun.

    Arguments, returns, raises: as `umr.train`; `ranks` is the place of this process.
    """
    from umr.models.group import process_group

    with process_group(ranks.rank, ranks.size, config.device, config.shard) as group:
        return train(workspace, config, number, reporter, force, group=group)


def _finished(stage: Callable[[], T], ranks: Ranks, reporter: Reporter) -> T | None:
    """What the stage gives when all ranks have done their part."""
    while True:
        try:
            return stage()
        except LockedError:
            if not ranks.waits:
                reporter.say(f"{ranks}: nothing is left to take; the last rank to end finishes the round")
                return None
            time.sleep(LOOK_SECONDS)  # the lock is not waited for: whoever has it next may be at the next stage


def launch(workers: int, arguments: Sequence[str]) -> None:
    """Run a command of umr on so many processes of this machine, by torchrun.

    Arguments:
        workers: processes; one for each GPU, or for shares of the processor.
        arguments: of `umr`, without `--workers`.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // workers)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")  # seconds in which a training ends its step and saves
    for left in reversed(range(RESTARTS + 1)):
        try:
            main(["--standalone", f"--nproc-per-node={workers}", "-m", "umr", *arguments])
            return
        except SignalException as error:  # the workers were told
            sys.exit(128 + error.sigval)
        except ChildFailedError as error:
            codes = [failure.exitcode for failure in error.failures.values()]
            signals = [code for code in codes if code < 0 and -code != Signals.SIGTERM]  # which the launcher sends to the others
            if not signals or not left:  # an error of umr would come again
                sys.exit(128 - signals[0] if signals else max(1, *codes))
            Console().warn(f"a process was ended by {Signals(-signals[0]).name}: all begin again, and go on")
