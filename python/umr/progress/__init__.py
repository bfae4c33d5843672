"""Messages and progress of a stage: one line at a time, and bars with items a second and the time left.

The command line hands its stages a `Console`. The Python API is silent but for warnings, which are logged; `reporter="console"`
shows everything, and any other `Reporter` may stand in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from umr._rust import Counter
from umr.errors import UsageError
from umr.progress.reporter import Bar, Logged, Reporter, Silent, SilentBar

__all__ = ["Bar", "Logged", "Reporter", "Reporting", "Silent", "SilentBar", "follow", "reporter_of"]

Reporting = Reporter | Literal["console"] | None
"""What the functions of the Python API take as their reporter."""


def reporter_of(reporter: Reporting) -> Reporter:
    """The reporter that is meant.

    Arguments:
        reporter: itself; `"console"` for one that shows everything on stderr; None for warnings alone, through `logging`.

    Raises:
        UsageError: another word.
    """
    if reporter is None:
        return Logged()
    if reporter == "console":
        from umr.progress.console import Console

        return Console()
    if isinstance(reporter, str) or not hasattr(reporter, "bar"):
        raise UsageError(f"reporter is {reporter!r}", 'give "console", a reporter such as umr.Console(), or None')
    return reporter


@contextmanager
def follow(reporter: Reporter, what: str, total: float, unit: str) -> Iterator[Counter]:
    """Show a bar that follows a counter advanced by a long call of the Rust extension.

    Arguments:
        reporter: where the bar is shown.
        what: what is being done, a few words.
        total: items in all.
        unit: the name of one item, in the plural.

    Yields:
        the counter to hand to the call.
    """
    counter, done = Counter(), threading.Event()
    with reporter.bar(what, total, unit) as bar:
        watcher = threading.Thread(target=_poll, args=(counter, bar, done), daemon=True)
        watcher.start()
        try:
            yield counter
        finally:
            done.set()
            watcher.join()


def _poll(counter: Counter, bar: Bar, done: threading.Event) -> None:
    shown = 0
    finished = False
    while not finished:
        finished = done.wait(0.1)
        value = counter.value
        bar.advance(value - shown)
        shown = value
