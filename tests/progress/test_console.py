"""Progress on stderr: bars that fit 80 columns, lines of a log, bars of a notebook; all on a clock that the test turns."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
from importlib import import_module

import pytest
from rich import console as rich
from rich.cells import cell_len

import umr
from umr.errors import UsageError
from umr.progress import bars, reporter_of


class Time:
    """A time that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def drawn(total: float, done: float, note: str) -> list[str]:
    """What a terminal of 80 columns shows last."""
    time, out = Time(), io.StringIO()
    console = umr.Console(show="terminal", now=time)
    console._console = rich.Console(file=out, width=80, force_terminal=True, highlight=False, color_system=None)
    with console.bar("labelling", total, "tokens") as bar:
        if note:
            bar.note("something before")
            bar.note(note)
        time.now += 10
        bar.advance(done)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).replace("\r", "\n")
    return [line.rstrip() for line in shown.split("labelling")[-1].split("\n") if line.strip()]


@pytest.mark.parametrize("total", [8, 999_999, 1_000_000, 123_456_789, 98_765_432_100])
def test_a_bar_and_its_note_fit_80_columns(total: float) -> None:
    note = "1,234,567/1,500,000 pairs, 1,234.5/s, 67% of the matrix peak"
    first, second = drawn(total, total / 4, note)
    assert cell_len("labelling" + first) <= 80
    assert "tokens" in first
    assert first.endswith("left 0:00:30")
    assert "…" not in first
    assert second == f"  {note}"


def test_numbers_are_short_where_they_are_large() -> None:
    assert "250,000/999,999 tokens, 25.0k/s" in drawn(999_999, 250_000, "")[0]
    assert "1.0M/123.5M tokens, 100.0k/s" in drawn(123_456_789, 1_000_000, "")[0]
    assert "0.0/123.5M tokens" in drawn(123_456_789, 0, "")[0]


def test_a_note_is_words_and_no_markup() -> None:
    assert drawn(8, 1, "[bold]1[/bold] pair")[1] == "  [bold]1[/bold] pair"


def test_quiet_shows_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    console = umr.Console(quiet=True)
    console.say("talk")
    with console.bar("labelling", 3, "tokens") as bar:
        bar.note("beside")
        bar.advance(3)
    console.warn("look [here]")
    assert capsys.readouterr().err.strip() == "warning: look [here]"


def test_off_a_terminal_a_line_every_30_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    time = Time()
    console = umr.Console(now=time)
    with console.bar("labelling", 1000, "pairs") as bar:
        for _ in range(99):
            bar.note("8,960 tokens")
            time.now += 1
            bar.advance(5)
    assert capsys.readouterr().err.splitlines() == [
        "labelling: 150/1,000 pairs, 5.0/s, 3 min left; 8,960 tokens",
        "labelling: 300/1,000 pairs, 5.0/s, 2 min left; 8,960 tokens",
        "labelling: 450/1,000 pairs, 5.0/s, 2 min left; 8,960 tokens",
        "labelling: 495 pairs in 2 min, 5.0/s",
    ]
    with console.bar("training", 10, "steps") as bar:
        bar.advance(10)
    assert capsys.readouterr().err == "", "a short bar says nothing"


def test_short_bars_in_a_row_are_not_silent(capsys: pytest.CaptureFixture[str]) -> None:
    time = Time()
    console = umr.Console(show="lines", now=time)
    for _ in range(4):
        with console.bar("searching", 2, "queries") as bar:
            for _ in range(2):
                time.now += 5
                bar.advance(1)
    assert capsys.readouterr().err.splitlines() == ["searching: 2/2 queries, 0.2/s, 1 s left", "searching: 2 queries in 10 s, 0.2/s"]


class Log(io.StringIO):
    """A log that says when something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_a_long_call_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing advances: the line comes all the same."""
    time, log = Time(), Log()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(bars, "LOOK_SECONDS", 0.001)
    with umr.Console(show="lines", now=time).bar("loading lm", 0, ""):
        time.now += 31
        assert log.written.wait(60)
    assert log.getvalue().splitlines()[0] == "loading lm: 31 s so far"


def test_an_error_ends_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), umr.Console(show="lines").bar("labelling", 8, "pairs"):
        raise KeyError
    assert threading.active_count() == before
    assert capsys.readouterr().err == ""


def test_a_notebook_has_bars_of_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    time, out = Time(), io.StringIO()
    tqdm = import_module("tqdm.auto").tqdm
    monkeypatch.setattr(import_module("tqdm.auto"), "tqdm", lambda **options: tqdm(**options, file=out, ncols=80, mininterval=0))
    with umr.Console(show="notebook", now=time).bar("training", 10, "steps") as bar:
        for _ in range(2):
            time.now += 2
            bar.advance(1)
        bar.note("loss 0.5")
        time.now += 2
        bar.skip(5)
    last = out.getvalue().strip().splitlines()[-1].split("\r")[-1]
    assert last.startswith("training: 7/10 steps, 0.33/s, 9 s left; loss 0.5 ")


@pytest.mark.parametrize("there", [True, False])
def test_where_progress_goes(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    console = umr.Console()
    assert console._style() == "lines", "pytest's stderr is no terminal"
    console._console = rich.Console(force_jupyter=True)
    monkeypatch.setattr("umr.progress.console.find_spec", lambda _: object() if there else None)
    assert console._style() == ("notebook" if there else "lines")


def test_talk_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = umr.Console()
    console.say("\nid \x1b]0;x\x07\x1b[2J[bold]")
    console.warn("id \x9b2J")
    assert capsys.readouterr().err == "\nid ]0;x[2J[bold]\nwarning: id 2J\n"


def test_warnings_are_logged_where_nothing_is_shown(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = reporter_of(None)
    with caplog.at_level(logging.INFO, "umr"), reporter.bar("labelling", 3, "pairs") as bar:
        reporter.say("talk")
        bar.advance(3)
        bar.skip(1)
        bar.note("beside")
        reporter.warn("look here")
    assert [(record.levelname, record.message) for record in caplog.records] == [("INFO", "talk"), ("WARNING", "look here")]
    assert capsys.readouterr().err == ""


def test_a_reporter_is_named_or_brought() -> None:
    assert isinstance(reporter_of("console"), umr.Console)
    own = umr.Console()
    assert reporter_of(own) is own
    with pytest.raises(UsageError, match="reporter is 'terminal'") as caught:
        reporter_of("terminal")  # type: ignore[arg-type]
    assert "console" in caught.value.hint
