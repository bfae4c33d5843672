"""Text of any script in a terminal: cut and wrapped by cells, its direction kept from its surroundings, control characters taken out.

All that umr prints goes through a `Terminal`; what a file holds can neither steer the terminal nor be taken for rich's markup.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import ControlType, Segment
from rich.text import Text

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and characters that change the direction of what follows (Unicode Annex 9)."""


def visible(text: str) -> str:
    """Text without what steers a terminal."""
    return STEERING.sub("", text)


def clean(text: str) -> str:
    """The same on one line."""
    return visible(" ".join(text.split()))


def drop(stream: IO[str]) -> None:
    """Let what is still to be written to a stream go nowhere: its reader has gone, or its device is full."""
    with suppress(OSError, ValueError):  # a stream in memory has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Terminal(Console):
    """stdout or stderr of a command.

    Arguments:
        stderr: which of them.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of a renderable, its text without what steers a terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """The reader has gone: talk is dropped from here on, a result is at its end."""
        self.quiet = True
        drop(self.file)
        if not self.stderr:
            raise BrokenPipeError


class Foreign:
    """A text that is wrapped by cells, each line of a right-to-left script isolated, so that what stands beside it stays in its place.

    Arguments:
        text: any; it is cleaned.
        cells: cut to so many cells, with an ellipsis (a Chinese character fills two); None leaves it whole.
        style: of rich.
    """

    def __init__(self, text: str, cells: int | None = None, style: str = "") -> None:
        self._text = Text(clean(text), style)
        if cells is not None:
            self._text.truncate(cells, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """The widths that it can take."""
        return Measurement.get(console, options, self._text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Its lines."""
        for line in self._text.wrap(console, options.max_width, overflow="fold"):
            line.rstrip()
            yield from _isolated(line, console) if _right_to_left(line.plain) else line.render(console)
            yield Segment.line()


def _right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)


def _isolated(line: Text, console: Console) -> Iterator[Segment]:
    """The line between marks that rich counts as control: no cell wide, and left out where stdout is not a terminal."""
    control = [(ControlType.BELL,)]  # which of them does not matter: what is written is the mark
    yield Segment(FIRST_STRONG_ISOLATE, None, control)
    yield from line.render(console)
    yield Segment(POP_ISOLATE, None, control)
