"""Talk and bars on stderr, through rich; stdout is for data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from umr.cli.foreign_text import Terminal
from umr.progress import Bar

LARGE = 10_000_000
UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3))


class _Rate(ProgressColumn):
    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        large = (task.total or 0) >= LARGE
        done = f"{_number(task.completed, large)}/{_number(task.total or 0, large)} {task.fields['unit']}"
        return Text(done + (f", {_number(speed, large) if large else f'{speed:,.1f}'}/s" if speed else ""))


def _number(value: float, large: bool) -> str:
    """12,345,678; where such numbers are too long for a line 12.3M."""
    if not large:
        return f"{value:,.0f}"
    unit, size = next(((unit, size) for unit, size in UNITS if value >= size), ("", 1))
    return f"{value / size:.1f}{unit}"


class _Bars(Progress):
    """Bars, and below each what is noted beside it: both fit a terminal of 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}", overflow="ellipsis", no_wrap=True)


class _Running:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, items: float) -> None:
        self._progress.advance(self._task, items)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)


class RichReporter:
    """Shows lines and bars on stderr.

    Arguments:
        quiet: only warnings.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console, self._quiet = Terminal(stderr=True), quiet

    def say(self, message: str) -> None:
        """Show one line of talk."""
        if not self._quiet:
            self._console.print(message, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Show one line that the user should not miss."""
        self._console.print(Text.assemble(("warning:", "yellow"), f" {message}"), soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        """Show a bar with items a second and the time left."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with _Bars(*columns, console=self._console, disable=self._quiet, transient=False) as progress:
            yield _Running(progress, progress.add_task(escape(what), total=total, unit=unit, note=""))
