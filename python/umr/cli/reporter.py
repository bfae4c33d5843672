"""Talk and bars on stderr, through rich; stdout is for data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from umr.progress import Bar


class _Rate(ProgressColumn):
    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f} {task.fields['unit']}" + (f", {speed:,.1f}/s" if speed else ""))


class _Running:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, items: float) -> None:
        self._progress.advance(self._task, items)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=escape(text))


class RichReporter:
    """Shows lines and bars on stderr.

    Arguments:
        quiet: only warnings.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console, self._quiet = Console(stderr=True, highlight=False), quiet

    def say(self, message: str) -> None:
        """Show one line of talk."""
        if not self._quiet:
            self._console.print(escape(message), soft_wrap=True)

    def warn(self, message: str) -> None:
        """Show one line that the user should not miss."""
        self._console.print(f"[yellow]warning:[/yellow] {escape(message)}", soft_wrap=True)

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
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console, disable=self._quiet, transient=False) as progress:
            yield _Running(progress, progress.add_task(escape(what), total=total, unit=unit, note=""))
