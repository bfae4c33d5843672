"""Tables of evaluations: for a terminal, and as Markdown, LaTeX and CSV. All numbers but p are percent with one decimal.

On a terminal both fit 80 columns: metrics stand side by side for one evaluation and below each other for a comparison.
Printing them is the command line's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import get_args

from rich.console import RenderableType

from umr.errors import UsageError
from umr.evaluate.evaluation import Evaluation
from umr.evaluate.significance import Comparison, Difference
from umr.progress.terminal import Form, table_of_numbers

MACRO = "macro"
"""Name of the row that averages the languages, each weighing the same."""
MICRO = "micro"
"""Name of the row that averages the queries."""
LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **{sign: f"\\{sign}" for sign in "%&_#${}"}}
)
"""How LaTeX prints signs that mean something to it."""


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Arguments:
        columns: their names; the first is to the left, the others are numbers.
        rows: [rows][columns].
        title, note: above and below; may be empty.
        plain: what CSV has in place of it, the names of its columns first: numbers as they are, shares from 0 to 1.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    title: str = ""
    note: str = ""
    plain: Sequence[Sequence[object]] = ()

    def shown(self, form: Form = "table") -> RenderableType:
        """The table in one of its forms: rich's own, or lines of text.

        Raises:
            UsageError: there is no such form.
        """
        if form not in get_args(Form):
            raise UsageError(f"the form of a table is {form!r}", f"one of {', '.join(get_args(Form))}")
        forms = {"table": self._rich, "markdown": self._markdown, "latex": self._latex, "csv": self._csv}
        return forms[form]()

    def _rich(self) -> RenderableType:
        table = table_of_numbers(self.title or None, self.note or None, *self.columns)
        for at, row in enumerate(self.rows):
            mean, after = (one[0] in (MACRO, MICRO) for one in (row, self.rows[min(at + 1, len(self.rows) - 1)]))
            table.add_row(*row, style="bold" if mean else None, end_section=mean != after)
        return table

    def _markdown(self) -> str:
        lines = [self.columns, ("---", *["---:"] * (len(self.columns) - 1)), *self.rows]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return "\n\n".join(filter(None, (self.title and f"**{self.title}**", table, self.note)))

    def _latex(self) -> str:
        lines = [" & ".join(cell.translate(LATEX) for cell in row) + r" \\" for row in (self.columns, *self.rows)]
        body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
        said = "".join(f"% {line}\n" for line in (self.title + "\n" + self.note).split("\n") if line)
        return f"{said}\\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}\n{body}\n\\end{{tabular}}"

    def _csv(self) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(self.plain or [self.columns, *self.rows])
        return out.getvalue().rstrip("\n")


def evaluation_table(evaluation: Evaluation, title: str = "") -> Grid:
    """One row a language, the macro and the micro row; one column a metric.

    Arguments:
        evaluation: what to show.
        title: stands above.

    Returns:
        A table; its note counts the queries that are missing from the run, unjudged, or without a relevant passage.
    """
    means = [(name, sum(evaluation.counts.values()), row) for name, row in ((MACRO, evaluation.macro), (MICRO, evaluation.micro))]
    languages = [(lang, evaluation.counts[lang], values) for lang, values in evaluation.per_language.items()]
    rows = [(name, f"{count:,}", *map(_percent, values.values())) for name, count, values in (*languages, *means)]
    plain = [(name, count, *values.values()) for name, count, values in (*languages, *means)]
    columns = ("language", "queries", *evaluation.metrics)
    return Grid(columns, rows, title, _notes(evaluation), [columns, *plain])


def comparison_table(comparisons: Sequence[Comparison], title: str = "", names: tuple[str, str] = ("", "")) -> Grid:
    """Before, after, change, interval and p: a section for each metric, in it a row a language and the macro row.

    Arguments:
        comparisons: one a metric, of the same pair of evaluations.
        title: stands above; empty for one of the names.
        names: of the two, in CSV.

    Returns:
        A table; a change that is more than chance is marked with a star.

    Raises:
        UsageError: nothing to show, or intervals of different confidence.
    """
    confidences = {comparison.confidence for comparison in comparisons}
    if len(confidences) != 1:
        raise UsageError(f"{len(comparisons)} comparisons of {len(confidences)} confidences in one table", "give them one")
    confidence = confidences.pop()
    note = (
        f"* p below {1 - confidence:.10g}: paired randomisation, corrected for the number of languages (Holm); "
        "interval: paired bootstrap over queries, within each language"
    )
    columns = ("lang", "queries", "metric", "before", "after", "change", f"{100 * confidence:.10g} % interval", "p")
    found = [(one, name, row) for one in comparisons for name, row in (*one.per_language.items(), (MACRO, one.macro))]
    rows = [(name, *_cells(comparison, row)) for comparison, name, row in found]
    plain = [(*names, name, comparison.metric, *astuple(row)) for comparison, name, row in found]
    return Grid(columns, rows, title or " -> ".join(filter(None, names)), note, [PLAIN, *plain])


PLAIN = ("system before", "system after", "language", "metric", "queries", "before", "after", "low", "high", "p")


def _notes(evaluation: Evaluation) -> str:
    """Queries that the means count as 0 or leave out; empty when there are none."""
    notes = (
        (evaluation.missing, "judged queries missing from the run, counted as 0"),
        (evaluation.unjudged, "queries of the run without judgments, left out"),
        (evaluation.without_relevant, "judged queries without a relevant passage, counted as 0"),
    )
    return "\n".join(f"{what}: {count:,}" for count, what in notes if count)


def _cells(comparison: Comparison, row: Difference) -> tuple[str, ...]:
    """Queries, metric, before, after, change, interval, p."""
    star = "*" if comparison.significant(row) else " "
    return (
        f"{row.queries:,}",
        comparison.metric,
        _percent(row.before),
        _percent(row.after),
        f"{_signed(row.difference)}{star}",
        f"{_signed(row.low)}, {_signed(row.high)}",
        f"{row.p:.3f}" if row.p >= 0.0005 else "<.001",
    )


def _percent(value: float) -> str:
    """0.7564 -> 75.6."""
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    """0.034 -> +3.4, -0.0001 -> 0.0."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
