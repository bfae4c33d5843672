"""Tables for people: one evaluation, or a before and after with intervals. All numbers are percent with one decimal.

Both fit a terminal of 80 columns: metrics stand side by side for one evaluation and below each other for a comparison.
Printing them is the command line's.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from umr.errors import UsageError
from umr.evaluate.evaluation import Evaluation
from umr.evaluate.significance import Comparison, Difference
from umr.progress.terminal import table_of_numbers

MACRO = "macro"
"""Name of the row that averages the languages, each weighing the same."""


def evaluation_table(evaluation: Evaluation, title: str | None = None) -> Table:
    """One row a language and the macro row; one column a metric.

    Arguments:
        evaluation: what to show.
        title: printed above; none when absent.

    Returns:
        A table; its caption counts the queries that are missing from the run, unjudged, or without a relevant passage.
    """
    table = table_of_numbers(title, _notes(evaluation) or None, "language", "queries", *evaluation.metrics)
    for language, values in evaluation.per_language.items():
        table.add_row(language, f"{evaluation.counts[language]:,}", *map(_percent, values.values()))
    table.add_section()
    table.add_row(MACRO, f"{len(evaluation.languages):,}", *map(_percent, evaluation.macro.values()), style="bold")
    return table


def comparison_table(comparisons: Sequence[Comparison], title: str | None = None) -> Table:
    """Before, after, change and interval: a section for each metric, in it a row a language and the macro row.

    Arguments:
        comparisons: one a metric, of the same pair of evaluations.
        title: printed above; none when absent.

    Returns:
        A table; a change whose interval leaves out 0 is marked with a star.

    Raises:
        UsageError: nothing to show, or intervals of different confidence.
    """
    confidences = {comparison.confidence for comparison in comparisons}
    if len(confidences) != 1:
        raise UsageError(f"{len(comparisons)} comparisons of {len(confidences)} confidences in one table", "give them one")
    interval = f"{100 * confidences.pop():.10g} % interval"
    note = "* the interval leaves out 0 (paired bootstrap over queries, within each language)"
    table = table_of_numbers(title, note, "language", "queries", "metric", "before", "after", "change", interval)
    for comparison in comparisons:
        for language, row in comparison.per_language.items():
            table.add_row(language, *_cells(comparison.metric, row))
        table.add_row(MACRO, *_cells(comparison.metric, comparison.macro), style="bold", end_section=True)
    return table


def _notes(evaluation: Evaluation) -> str:
    """Queries that the means count as 0 or leave out; empty when there are none."""
    notes = (
        (evaluation.missing, "judged queries missing from the run, counted as 0"),
        (evaluation.unjudged, "queries of the run without judgments, left out"),
        (evaluation.without_relevant, "judged queries without a relevant passage, counted as 0"),
    )
    return "\n".join(f"{what}: {count:,}" for count, what in notes if count)


def _cells(metric: str, row: Difference) -> tuple[str, ...]:
    """Queries, metric, before, after, change, interval."""
    star = "*" if row.significant else " "
    interval = f"{_signed(row.low)} to {_signed(row.high)}"
    means = (_percent(row.before), _percent(row.after))
    return (f"{row.queries:,}", metric, *means, f"{_signed(row.difference)}{star}", interval)


def _percent(value: float) -> str:
    """0.7564 -> 75.6."""
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    """0.034 -> +3.4, -0.0001 -> 0.0."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
