"""Three ways to show how far a stage is: a bar of a terminal, a bar of a notebook, and lines of a log. All go by one clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from umr.progress.clock import Clock
from umr.progress.reporter import Bar

LINE_SECONDS = 30.0  # between two lines of a log
LOOK_SECONDS = 1.0  # between two looks at whether a line is due


class _Shown:
    """Counts on a clock, and shows it when something has changed."""

    def __init__(self, clock: Clock, show: Callable[[str], None]) -> None:
        self._clock, self._show, self._note = clock, show, ""

    def advance(self, items: float) -> None:
        """Count items that have just been finished."""
        self._clock.advance(items)
        self.show()

    def skip(self, items: float) -> None:
        """Count items that an earlier run has finished."""
        self._clock.skip(items)
        self.show()

    def note(self, text: str) -> None:
        """Show a text beside the numbers from now on."""
        self._note = text

    def show(self) -> None:
        """Show the clock as it stands."""
        self._show(self._note)


class _Rate(ProgressColumn):
    """Items done, of all, and the speed of the last minute."""

    def render(self, task: Task) -> Text:
        """Empty where the number of items is not known."""
        clock: Clock = task.fields["clock"]
        return Text(", ".join(filter(None, (clock.count(task.fields["unit"]), clock.speed()))) if clock.total else "")


class _Left(ProgressColumn):
    """The time that the rest takes at the speed of the last minute."""

    def render(self, task: Task) -> Text:
        """Empty where the number of items is not known."""
        clock: Clock = task.fields["clock"]
        left = clock.left
        return Text(f"left {'-:--:--' if left is None else timedelta(seconds=round(left))}" if clock.total else "")


class _Bars(Progress):
    """Bars, and below each what is noted beside it: both fit a terminal of 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """A table for each bar, and its note."""
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}", overflow="ellipsis", no_wrap=True)


@contextmanager
def terminal_bar(console: Console, what: str, unit: str, clock: Clock) -> Iterator[Bar]:
    """A bar that is drawn again and again, with items a second and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=10), _Rate(Column(no_wrap=True)), TimeElapsedColumn(), _Left())
    with _Bars(*columns, console=console, transient=not clock.total) as progress:
        task = progress.add_task(escape(what), total=clock.total or None, unit=unit, clock=clock, note="")
        yield _Shown(clock, lambda note: progress.update(task, completed=clock.done, note=note))


@contextmanager
def notebook_bar(what: str, unit: str, clock: Clock) -> Iterator[Bar]:
    """A bar of a notebook, drawn by tqdm.

    Raises:
        ImportError: tqdm is not installed.
    """
    tqdm: Any = import_module("tqdm.auto").tqdm
    with tqdm(total=clock.total or None, desc=what, bar_format="{desc} {bar}") as drawn:

        def show(note: str) -> None:
            drawn.set_description_str("; ".join(filter(None, (f"{what}: {clock.line(unit)}", note))), refresh=False)
            drawn.update(clock.done - drawn.n)

        yield _Shown(clock, show)


class LogLines:
    """Lines for where nothing can be drawn twice: one every 30 seconds while anything goes on, also within a long call.

    Arguments:
        write: takes a line.
        now: the time in seconds.
    """

    def __init__(self, write: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._write, self._now, self._last, self._lock = write, now, now(), threading.Lock()

    @contextmanager
    def bar(self, what: str, unit: str, clock: Clock) -> Iterator[Bar]:
        """Write lines while the context is open, and one at its end where there was one before."""
        lines: list[str] = []

        def show(note: str) -> None:
            with self._lock:
                if self._now() - self._last >= LINE_SECONDS:
                    self._last = self._now()
                    lines.append("; ".join(filter(None, (f"{what}: {clock.line(unit)}", note))))
                    self._write(lines[-1])

        shown, ended = _Shown(clock, show), threading.Event()
        watcher = threading.Thread(target=_watch, args=(shown, ended), daemon=True)
        watcher.start()
        try:
            yield shown
        finally:
            ended.set()
            watcher.join()
        if lines:
            self._write(f"{what}: {clock.summary(unit)}")


def _watch(shown: _Shown, ended: threading.Event) -> None:
    while not ended.wait(LOOK_SECONDS):
        shown.show()
