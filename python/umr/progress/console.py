"""Talk and progress on stderr; stdout is for data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

from rich.text import Text

from umr.progress.bars import LogLines, notebook_bar, terminal_bar
from umr.progress.clock import Clock
from umr.progress.reporter import Bar, SilentBar
from umr.progress.terminal import Terminal

Show = Literal["auto", "terminal", "notebook", "lines"]


class Console:
    """A reporter that shows lines and progress on stderr: bars in a terminal and in a notebook, elsewhere a line every 30 seconds.

    Arguments:
        quiet: only warnings.
        show: how progress is shown; auto looks where stderr leads.
        now: the time in seconds.
    """

    def __init__(self, quiet: bool = False, show: Show = "auto", now: Callable[[], float] = time.monotonic) -> None:
        self._console = Terminal(stderr=True)
        self._quiet, self._show, self._now, self._lines = quiet, show, now, LogLines(self.say, now)

    def say(self, message: str) -> None:
        """Show one line of talk."""
        if not self._quiet:
            self._console.print(message, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Show one line that the user should not miss."""
        self._console.print(Text.assemble(("warning:", "yellow"), f" {message}"), soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        """Show items done, items a second and the time left; 0 items: how many is not known."""
        if self._quiet:
            yield SilentBar()
            return
        clock, show = Clock(total, self._now), self._style()
        if show == "terminal":
            shown = terminal_bar(self._console, what, unit, clock)
        else:
            shown = notebook_bar(what, unit, clock) if show == "notebook" else self._lines.bar(what, unit, clock)
        with shown as bar:
            yield bar

    def _style(self) -> Show:
        if self._show != "auto":
            return self._show
        if self._console.is_jupyter:
            return "notebook" if find_spec("tqdm") else "lines"
        drawn = self._console.file.isatty() and not self._console.is_dumb_terminal
        return "terminal" if drawn else "lines"
