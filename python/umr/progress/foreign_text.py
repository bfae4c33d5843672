"""Text of any script in a terminal: cut and wrapped by cells, its direction kept from its surroundings."""

from __future__ import annotations

import unicodedata

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import ControlType, Segment
from rich.text import Text

from umr.progress.terminal import clean

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
# Rich counts the marks as control: no cell wide, and left out where stdout is not a terminal. Of which kind does not matter.
BEGIN, END = (Segment(mark, None, [(ControlType.BELL,)]) for mark in (FIRST_STRONG_ISOLATE, POP_ISOLATE))


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
            right_to_left = any(unicodedata.bidirectional(c) in ("R", "AL") for c in line.plain)
            yield from (BEGIN, *line.render(console), END) if right_to_left else line.render(console)
            yield Segment.line()
