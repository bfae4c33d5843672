"""Ranks: several processes that do a stage together over one file system. Each takes what no other has taken; nothing is sent.

A unit of work is a file that its worker locks. The system releases the lock when the worker ends or dies, on whatever machine, so a
unit whose worker is gone is taken over by the next rank that looks.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from umr.errors import StorageError, UsageError
from umr.layout import WorkLayout
from umr.manifest import read_manifest, require_same, write_manifest
from umr.progress import Reporter
from umr.storage import canonical, remove, storage_error
from umr.work.lock import WITHOUT_LOCKS, open_lock, writer_of

BEGUN, DONE = b"begun", b"ended"
LOOK_SECONDS = 0.2  # between two looks at units that others have


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that do a stage together.

    Arguments:
        rank: from 0.
        size: how many there are.
        waits: until the stage is finished, as the processes of one torchrun do; else a rank that finds nothing to do ends.
    """

    rank: int
    size: int
    waits: bool

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"


def ranks_of(given: str | None = None, env: Mapping[str, str] = os.environ) -> Ranks | None:
    """The place of this process; None where it works alone.

    Arguments:
        given: `i/N`, i from 0; `auto`: of a Slurm array (SLURM_ARRAY_TASK_ID) or a launcher (RANK); None: of torchrun, if that started it.
        env: the environment.

    Raises:
        UsageError: no such place.
    """
    if given is None:
        return _of(env["RANK"], env["WORLD_SIZE"], True) if "TORCHELASTIC_RUN_ID" in env and int(env["WORLD_SIZE"]) > 1 else None
    if given == "auto":
        if "SLURM_ARRAY_TASK_ID" in env:
            count = env.get("SLURM_ARRAY_TASK_COUNT", "")  # of ids that may be any numbers; a rank decides where to begin, no more
            return _of(str(int(env["SLURM_ARRAY_TASK_ID"]) % int(count)) if count.isdigit() and int(count) else "", count, False)
        return _of(env.get("RANK", ""), env.get("WORLD_SIZE", ""), False)
    rank, _, size = given.partition("/")
    return _of(rank, size, False)


def _of(rank: str, size: str, waits: bool) -> Ranks:
    if not (re.fullmatch(r"\d+", rank) and re.fullmatch(r"\d+", size) and int(rank) < int(size)):
        raise UsageError(
            f"the rank is {rank or '?'}/{size or '?'}",
            "give --rank i/N, i from 0 to N - 1; auto reads SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, or RANK and WORLD_SIZE",
        )
    return Ranks(int(rank), int(size), waits)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for a lock, and hold it while the context is open.

    Arguments:
        path: of the lock file.

    Raises:
        StorageError: the file system has no locks, or the file cannot be made.
    """
    file = open_lock(path)
    try:
        _lock(file, path, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


@dataclass(frozen=True)
class Claims:
    """Units of work that ranks share.

    Arguments:
        folder: of a file for each unit.
        ranks: the place of this process.
    """

    folder: Path
    ranks: Ranks

    def alone(self) -> AbstractContextManager[None]:
        """Be the only rank in what follows; the others wait."""
        return alone(self.folder / "alone")

    def each(self, units: Sequence[str], wait: bool = False) -> Iterator[tuple[str, bool]]:
        """The units that fall to this process, each locked until the next is asked for; by then it counts as done.

        Ranks begin at different units. One that waits goes on until all are done; else it ends when others have what is left.

        Arguments:
            units: names of files.
            wait: until all are done, whatever kind of rank it is.

        Yields:
            the unit, and whether another process began it and did not end it.
        """
        first = len(units) * self.ranks.rank // self.ranks.size
        left = [*units[first:], *units[:first]]
        while left:
            others = []
            for unit in left:
                path = self.folder / unit
                file = open_lock(path)
                try:
                    if not _lock(file, path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        others.append(unit)
                    elif (state := os.pread(file, 8, 0)) != DONE:
                        os.pwrite(file, BEGUN, 0)
                        os.fsync(file)  # so that other machines see it when this one is gone
                        yield unit, state == BEGUN
                        os.pwrite(file, DONE, 0)
                finally:
                    os.close(file)
            if others and not (wait or self.ranks.waits):
                return
            if len(others) == len(left):
                time.sleep(LOOK_SECONDS)
            left = others


def _lock(file: int, path: Path, how: int) -> bool:
    """Lock a file; False where another process has it."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            raise StorageError(
                f"the file system of {path.parent} has no locks, by which ranks share the work",
                "put the work folder on one that has (NFS 4, Lustre mounted with -o flock), or leave --rank out",
            ) from error
        raise storage_error(error, path) from error
    return True


def about(stage: str, number: int, made_from: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What ranks have to agree on.

    Arguments:
        stage: mine or label.
        number: the round.
        made_from: what decides the result.
        more: what decides how it is made.
    """
    return {"stage": stage, "round": number, "umr": version("umr"), **made_from, **more}


@contextmanager
def working_together(layout: WorkLayout, ranks: Ranks, about: Mapping[str, Any], reporter: Reporter) -> Iterator[Claims]:
    """Work in a work folder beside other ranks while the context is open; whoever would write to it alone is kept out.

    The first to come says what is done; the others have to be about the same.

    Arguments:
        layout: of the work folder.
        ranks: the place of this process.
        about: stage, round, version, data and settings, as JSON has them.
        reporter: told whom is waited for.

    Raises:
        MismatchError: the others do something else; every difference is named.
        StorageError: the file system has no locks.
    """
    about, path = json.loads(canonical(about)), layout.ranks / "about.json"
    with alone(layout.entrance):
        file = open_lock(layout.lock)
        try:
            _enter(file, layout, path, about, reporter)
        except BaseException:
            os.close(file)
            raise
    try:
        yield Claims(layout.ranks / str(about["stage"]), ranks)
    finally:
        os.close(file)


def _enter(file: int, layout: WorkLayout, path: Path, about: Mapping[str, Any], reporter: Reporter) -> None:
    alone_there = partial(_lock, file, layout.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    while True:
        if alone_there():
            os.ftruncate(file, 0)  # a killed writer left its name
            remove(layout.ranks)
            write_manifest(path, "ranks", about, {})
            _lock(file, layout.lock, fcntl.LOCK_SH)  # in which moment a writer may have come and gone
            if path.exists():
                return
        elif _lock(file, layout.lock, fcntl.LOCK_SH | fcntl.LOCK_NB):
            if alone_there() or not path.exists():  # whoever was there has just gone
                continue
            _lock(file, layout.lock, fcntl.LOCK_SH)  # which the attempt may have lost
            hint = "start all of them with the same options and version, on the same files"
            require_same(path, "the other ranks began", read_manifest(path, "ranks")["made_from"], about, hint)
            return
        else:
            reporter.say(f"waiting for {writer_of(layout) or 'other ranks'}")
            with alone(layout.lock):
                pass  # nobody writes or works there any more
