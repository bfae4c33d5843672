"""One writer a work folder: a lock that the system releases when its holder ends or dies. Readers take none and never wait."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from umr.errors import LockedError
from umr.layout import WorkLayout
from umr.progress import Reporter
from umr.storage import storage_error

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that have none


@contextmanager
def writing(layout: WorkLayout, reporter: Reporter) -> Iterator[None]:
    """Be the one process that writes to a work folder while the context is open.

    A stage of a round reads the encoder of the round before, so the lock is on the whole folder and not on one round.

    Arguments:
        layout: the work folder; made where it is missing.
        reporter: warned where the file system has no locks.

    Raises:
        LockedError: another process writes to it; the message has its number and command.
        StorageError: the folder cannot be written.
    """
    try:
        layout.folder.mkdir(parents=True, exist_ok=True)
        file = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(error, layout.lock) from error
    try:
        _take(file, layout, reporter)
        try:
            os.ftruncate(file, 0)  # a killed writer left its own
            os.pwrite(file, _this_process().encode(errors="replace"), 0)
            _remove_unfinished(layout)
            yield
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)  # which releases the lock


def _take(file: int, layout: WorkLayout, reporter: Reporter) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(
            f"{layout.folder} is being written by {_holder(layout.lock) or 'another process'}",
            "wait until it ends, or stop it: what is finished is kept. `umr status` and `umr search` need not wait",
        ) from error
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise storage_error(error, layout.lock) from error
        reporter.warn(f"the file system of {layout.folder} has no locks: take care that only one command at a time writes there")


def _this_process() -> str:
    command = shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])
    return f"{os.getpid()}\n{socket.gethostname()}\n{command}"


def _holder(lock: Path) -> str:
    """The process that wrote its number into a lock, in words; empty where none did."""
    parts = lock.read_text(encoding="utf-8", errors="replace").split("\n", 2)
    return f"process {parts[0]} on {parts[1]} (`{parts[2]}`)" if len(parts) == 3 else ""


def writer_of(layout: WorkLayout) -> str:
    """The process that writes to a work folder now, in words; empty where there is none.

    The lock itself is not tried: a writer that begins in that moment would be refused.
    """
    with suppress(OSError, ValueError):
        number, host, _ = layout.lock.read_text(encoding="utf-8", errors="replace").split("\n", 2)
        if host == socket.gethostname():
            os.kill(int(number), 0)  # raises where that process has died
        return _holder(layout.lock)
    return ""


def _remove_unfinished(layout: WorkLayout) -> None:
    """Remove what killed writers left beside the files of the rounds: whoever holds the lock knows that nobody writes them."""
    for folder in (layout.folder, *(place.folder for place in layout.rounds())):
        for left in (*folder.glob(".*.part"), *folder.glob("training/.*.part")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
