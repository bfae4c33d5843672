"""What umr prints on: a file's text can neither steer the terminal nor be taken for rich's markup, and a reader may go."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import TextType

Form = Literal["table", "markdown", "latex", "csv"]
"""Forms of a table of results."""

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


def table_of_numbers(title: TextType | None, caption: str | None, *columns: str) -> Table:
    """An empty table: the first column to the left, numbers to the right; only an interval may take two lines."""
    table = Table(title=title, caption=caption, caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap="interval" not in column)
    return table


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
