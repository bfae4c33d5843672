"""Talk and progress on stderr; stdout is for data."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

import rich.console
from rich.markup import escape

from umr.progress.bars import LogLines, notebook_bar, terminal_bar
from umr.progress.clock import Clock
from umr.progress.reporter import Bar, SilentBar

Show = Literal["auto", "terminal", "notebook", "lines"]


class Console:
    """A reporter that shows lines and progress on stderr: bars in a terminal and in a notebook, elsewhere a line every 30 seconds.

    Arguments:
        quiet: only warnings.
        show: how progress is shown; auto looks where stderr leads.
        now: the time in seconds.
    """

    def __init__(self, quiet: bool = False, show: Show = "auto", now: Callable[[], float] = time.monotonic) -> None:
        self._console = rich.console.Console(stderr=True, highlight=False)
        self._quiet, self._show, self._now, self._lines = quiet, show, now, LogLines(self.say, now)

    def say(self, message: str) -> None:
        """Show one line of talk."""
        if not self._quiet:
            self._console.print(escape(_plain(message)), soft_wrap=True)

    def warn(self, message: str) -> None:
        """Show one line that the user should not miss."""
        self._console.print(f"[yellow]warning:[/yellow] {escape(_plain(message))}", soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        """Show items done, items a second and the time left; 0 items: how many is not known."""
        if self._quiet:
            yield SilentBar()
            return
        what, clock, show = _plain(what), Clock(total, self._now), self._style()
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


def _plain(text: str) -> str:
    """Without control characters but for line breaks: an id or a path in a message must not steer the terminal."""
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) != "Cc")
