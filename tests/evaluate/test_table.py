"""What the tables say, read back from their text."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

from umr.errors import UsageError
from umr.evaluate import Evaluation, compare, comparison_table, evaluation_table

Pair = tuple[Evaluation, Evaluation]
MakeUp = Callable[[dict[str, list[float]]], Evaluation]


def text(table: Table) -> str:
    """The table as 80 columns of plain text."""
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(table)
    return stream.getvalue()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│ \n").split("│")]


def rows(table: Table) -> list[list[str]]:
    return [cells(line) for line in text(table).splitlines() if line.startswith("│")]


def test_one_evaluation_has_a_row_a_language_and_the_macro(made_up: MakeUp) -> None:
    before = made_up({"en": [1.0, 0.0, 0.0], "th": [1.0]})
    assert rows(evaluation_table(before)) == [["en", "3", "33.3"], ["th", "1", "100.0"], ["macro", "4", "66.7"]]


def test_notes_tell_what_is_missing_and_are_absent_otherwise(made_up: MakeUp) -> None:
    evaluation = Evaluation({"R@1": {"q": 0.0}}, {"q": "en"}, missing=1, unjudged=1200, without_relevant=3)
    shown = " ".join(text(evaluation_table(evaluation)).split()) + " "
    assert "judged queries missing from the run, counted as 0: 1 " in shown
    assert "queries of the run without judgments, left out: 1,200 " in shown
    assert "judged queries without a relevant passage, counted as 0: 3 " in shown
    assert "counted as 0" not in text(evaluation_table(made_up({"en": [1.0]})))


def test_comparison_shows_before_after_difference_and_interval(made_up: MakeUp) -> None:
    before, after = made_up({"en": [0.0] * 4, "th": [1.0] * 4}), made_up({"en": [1.0] * 4, "th": [1.0] * 4})
    shown = rows(comparison_table([compare(before, after, metric="R@1")]))
    assert shown[0] == ["en", "4", "R@1", "0.0", "100.0", "+100.0*", "+100.0 to +100.0"]
    assert shown[1] == ["th", "4", "R@1", "100.0", "100.0", "0.0", "0.0 to 0.0"]
    assert shown[2] == ["macro", "8", "R@1", "50.0", "100.0", "+50.0*", "+50.0 to +50.0"]


def test_sections_follow_the_metrics_within_80_columns(pair: Pair) -> None:
    shown = comparison_table([compare(*pair, metric="R@1")] * 3, title="before and after")
    assert [row[0] for row in rows(shown)] == ["de", "th", "macro"] * 3
    assert "…" not in text(shown)
    assert "95 % interval" in text(shown)
    assert "before and after" in text(shown)


def test_nothing_or_mixed_confidences_are_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="0 comparisons"):
        comparison_table([])
    with pytest.raises(UsageError, match="2 confidences"):
        comparison_table([compare(*pair, metric="R@1", confidence=c) for c in (0.9, 0.95)])
