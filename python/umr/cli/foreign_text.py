"""Text of any script in a terminal: cut and wrapped by cells, its direction kept from its surroundings."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import ControlType, Segment
from rich.text import Text

from umr.progress.terminal import clean

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"


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
