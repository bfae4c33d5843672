"""One writer a work folder, or ranks that share it: a lock that the system releases when its holder ends or dies. Readers take none
and never wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from umr.errors import LockedError
from umr.layout import WorkLayout
from umr.progress import Reporter
from umr.storage import remove, storage_error

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems that have none
NAMED_SECONDS = 1.0  # within which a process that has the lock has written its number into it


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
    file = open_lock(layout.lock)
    try:
        _take(file, layout, reporter)
        try:
            os.ftruncate(file, 0)  # a killed writer left its own
            command = shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])
            os.pwrite(file, f"{os.getpid()}\n{socket.gethostname()}\n{command}".encode(errors="replace"), 0)
            _remove_unfinished(layout)
            yield
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)  # which releases the lock


def open_lock(path: Path) -> int:
    """Open a lock file, made where it is missing; a StorageError says that it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(error, path) from error


def _take(file: int, layout: WorkLayout, reporter: Reporter) -> None:
    until = time.monotonic() + NAMED_SECONDS
    while not _locked(file, layout, reporter):
        holder = writer_of(layout)
        if holder or time.monotonic() > until:
            raise LockedError(
                f"{layout.folder} is being written by {holder or 'another process'}",
                "wait until it ends, or stop it: what is finished is kept. `umr status` and `umr search` need not wait",
            )
        time.sleep(0.01)  # its holder has just begun and has not written its number yet, or ends now


def _locked(file: int, layout: WorkLayout, reporter: Reporter) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise storage_error(error, layout.lock) from error
        reporter.warn(f"the file system of {layout.folder} has no locks: take care that only one command at a time writes there")
    return True


def writer_of(layout: WorkLayout) -> str:
    """The process that writes to a work folder now, in words; empty where there is none.

    The lock itself is not tried: a writer that begins in that moment would be refused.
    """
    with suppress(OSError, ValueError):
        number, host, command = layout.lock.read_text(encoding="utf-8", errors="replace").split("\n", 2)
        if host == socket.gethostname():
            with suppress(PermissionError):  # the process of another user
                os.kill(int(number), 0)  # raises where that process has died
        return f"process {number} on {host} (`{command}`)"
    return ""


def _remove_unfinished(layout: WorkLayout) -> None:
    """Remove what killed writers left beside the files of the rounds: whoever holds the lock knows that nobody writes them."""
    remove(layout.ranks)
    for folder in (layout.folder, *(place.folder for place in layout.rounds())):
        for left in (*folder.glob(".*.part"), *folder.glob("training/.*.part")):
            remove(left)
