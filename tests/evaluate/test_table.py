"""What the tables say, read back from their text."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from umr.errors import UsageError
from umr.evaluate import Evaluation, compare, comparison_table, evaluation_table
from umr.evaluate.table import Grid

Pair = tuple[Evaluation, Evaluation]
MakeUp = Callable[[dict[str, list[float]]], Evaluation]


def text(table: Grid) -> str:
    """The table as 80 columns of plain text."""
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(table.shown())
    return stream.getvalue()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│ \n").split("│")]


def rows(table: Grid) -> list[list[str]]:
    return [cells(line) for line in text(table).splitlines() if line.startswith("│")]


def test_one_evaluation_has_a_row_a_language_and_the_macro(made_up: MakeUp) -> None:
    before = made_up({"en": [1.0, 0.0, 0.0], "th": [1.0]})
    shown = [["en", "3", "33.3"], ["th", "1", "100.0"], ["macro", "4", "66.7"], ["micro", "4", "50.0"]]
    assert rows(evaluation_table(before)) == shown


def test_notes_tell_what_is_missing_and_are_absent_otherwise(made_up: MakeUp) -> None:
    evaluation = Evaluation({"R@1": {"q": 0.0}}, {"q": "en"}, missing=1, unjudged=1200, without_relevant=3)
    shown = " ".join(text(evaluation_table(evaluation)).split()) + " "
    assert "judged queries missing from the run, counted as 0: 1 " in shown
    assert "queries of the run without judgments, left out: 1,200 " in shown
    assert "judged queries without a relevant passage, counted as 0: 3 " in shown
    assert "counted as 0" not in text(evaluation_table(made_up({"en": [1.0]})))


def test_comparison_shows_before_after_difference_interval_and_p(made_up: MakeUp) -> None:
    before, after = made_up({"en": [0.0] * 12, "th": [1.0] * 4}), made_up({"en": [1.0] * 12, "th": [1.0] * 4})
    shown = rows(comparison_table([compare(before, after, metric="R@1")]))
    assert shown[0][:6] == ["en", "12", "R@1", "0.0", "100.0", "+100.0*"]
    assert shown[0][7] in ("<.001", "0.001", "0.002")
    assert next(row for row in shown if row[0] == "th")[:6] == ["th", "4", "R@1", "100.0", "100.0", "0.0"]
    assert next(row for row in shown if row[0] == "macro")[:6] == ["macro", "16", "R@1", "50.0", "100.0", "+50.0*"]


def test_a_table_has_other_forms_for_papers_and_programs(made_up: MakeUp) -> None:
    table = comparison_table([compare(made_up({"en": [0.0, 1.0]}), made_up({"en": [1.0, 1.0]}), metric="R@1")], names=("a_b", "c|d"))
    assert table.shown("markdown").splitlines()[:5] == [
        "**a_b -> c|d**", "", "| lang | queries | metric | before | after | change | 95 % interval | p |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| en | 2 | R@1 | 50.0 | 100.0 | +50.0  | 0.0, +100.0 | {table.rows[0][-1]} |",
    ]  # fmt: skip
    plain = table.shown("csv").splitlines()
    assert plain[0] == "system before,system after,language,metric,queries,before,after,low,high,p"
    assert plain[1].startswith("a_b,c|d,en,R@1,2,0.5,1.0,0.0,1.0,")
    latex = table.shown("latex").splitlines()
    assert latex[0] == "% a_b -> c|d"
    assert r"\begin{tabular}{lrrrrrrr}" in latex
    assert r"lang & queries & metric & before & after & change & 95 \% interval & p \\" in latex
    with pytest.raises(UsageError, match="the form of a table is 'html'"):
        table.shown("html")  # type: ignore[arg-type]


def test_sections_follow_the_metrics_within_80_columns(pair: Pair) -> None:
    shown = comparison_table([compare(*pair, metric="R@1")] * 3, title="before and after")
    assert [row[0] for row in rows(shown)] == ["de", "th", "macro"] * 3
    assert "…" not in text(shown)
    assert "95 %" in text(shown)
    assert "before and after" in text(shown)


def test_nothing_or_mixed_confidences_are_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="0 comparisons"):
        comparison_table([])
    with pytest.raises(UsageError, match="2 confidences"):
        comparison_table([compare(*pair, metric="R@1", confidence=c) for c in (0.9, 0.95)])


def test_latex_prints_what_it_takes_for_commands(made_up: MakeUp) -> None:
    assert r"\textbackslash{}a\_\{b\}\textasciitilde{}\textasciicircum{}" in str(Grid((r"\a_{b}~^",), [("1",)]).shown("latex"))


def test_csv_of_one_evaluation_has_plain_numbers(made_up: MakeUp) -> None:
    assert str(evaluation_table(made_up({"en": [1.0] * 3 + [0.0] * 1201})).shown("csv")).splitlines()[:2] == [
        "language,queries,R@1", f"en,1204,{3 / 1204!r}",
    ]  # fmt: skip
