"""Bars on stderr: counts, speed and the time left on one line of 80 columns, a note on the next."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from umr.cli.reporter import RichReporter


def lines(total: float, done: float, note: str, width: int = 80) -> list[str]:
    """What a terminal shows last."""
    reporter, out = RichReporter(), io.StringIO()
    reporter._console = Console(file=out, width=width, force_terminal=True, highlight=False, color_system=None)
    with reporter.bar("labelling", total, "tokens") as bar:
        if note:
            bar.note("something before")
            bar.note(note)
        bar.advance(done)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).replace("\r", "\n")
    return [line.rstrip() for line in shown.split("labelling")[-1].split("\n") if line.strip()]


@pytest.mark.parametrize("total", [8, 9_999_999, 123_456_789, 98_765_432_100])
def test_a_bar_and_its_note_fit_80_columns(total: float) -> None:
    note = "1,234,567/1,500,000 pairs, 1,234.5/s, 67% of the matrix peak"
    first, second = lines(total, total / 4, note)
    assert cell_len("labelling" + first) <= 80
    assert "tokens" in first
    assert "left" in first
    assert "…" not in first
    assert second == f"  {note}"


def test_numbers_are_short_where_they_are_large() -> None:
    assert "2,500,000/9,999,999 tokens" in lines(9_999_999, 2_500_000, "")[0]
    assert "1.0M/123.5M tokens" in lines(123_456_789, 1_000_000, "")[0]
    assert "0.0/123.5M tokens" in lines(123_456_789, 0, "")[0]


def test_a_note_is_words_and_no_markup() -> None:
    assert lines(8, 1, "[bold]1[/bold] pair")[1] == "  [bold]1[/bold] pair"


def test_quiet_shows_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = RichReporter(quiet=True)
    reporter.say("talk")
    with reporter.bar("labelling", 3, "tokens") as bar:
        bar.note("beside")
        bar.advance(3)
    reporter.warn("look [here]")
    assert capsys.readouterr().err.strip() == "warning: look [here]"
