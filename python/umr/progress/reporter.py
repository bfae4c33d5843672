"""What a stage talks to: lines, warnings and bars. It is handed a `Reporter` and never prints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """A running bar; `advance` adds finished items, `note` says something beside them."""

    def advance(self, items: float) -> None:
        """Add `items` items that have just been finished."""

    def skip(self, items: float) -> None:
        """Add `items` items that an earlier run has finished: they say nothing about the speed."""

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
        """Show a bar over `total` items of `unit` while the context is open; 0 items: how many is not known."""
        ...


class SilentBar:
    """A bar that nobody sees."""

    def advance(self, items: float) -> None:
        """Show nothing."""

    def skip(self, items: float) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""


class Silent:
    """A reporter that shows nothing at all."""

    def say(self, message: str) -> None:
        """Drop the line."""

    def warn(self, message: str) -> None:
        """Drop the line."""

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        """Show nothing."""
        yield SilentBar()


class Logged(Silent):
    """The default of the Python API: silent, but warnings go to the logger `umr`, which shows them on stderr unless told otherwise."""

    def say(self, message: str) -> None:
        """Log the line at level INFO, which is not shown unless `logging` is set up to."""
        logging.getLogger("umr").info(message)

    def warn(self, message: str) -> None:
        """Log the line at level WARNING."""
        logging.getLogger("umr").warning(message)
