"""Messages and progress of a stage: one line at a time, and bars with items a second and the time left.

A stage is handed a `Reporter` and never prints. The command line hands it one that writes to stderr; the Python API
hands it the silent one unless the caller brings another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from umr._rust import Counter


class Bar(Protocol):
    """A running bar; `advance` adds finished items, `note` says something beside them."""

    def advance(self, items: float) -> None:
        """Add `items` finished items."""

    def note(self, text: str) -> None:
        """Show a few words beside the bar, in place of those before."""


class Reporter(Protocol):
    """Where a stage sends its messages."""

    def say(self, message: str) -> None:
        """Show one line."""

    def warn(self, message: str) -> None:
        """Show one line that the user should not miss."""

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        """Show a bar over `total` items of `unit` while the context is open."""
        ...


class _SilentBar:
    def advance(self, items: float) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """A reporter that shows nothing: the default of the Python API."""

    def say(self, message: str) -> None:
        """Drop the line."""

    def warn(self, message: str) -> None:
        """Drop the line."""

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        """Show nothing."""
        yield _SilentBar()


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
    from umr._rust import Counter

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
