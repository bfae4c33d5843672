"""What `umr label --inspect` shows: two tables and examples side by side; the tables fit a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from umr.cli.output import Result
from umr.data.workspace import Workspace
from umr.label.inspect import Inspection, inspect_labels
from umr.label.inspect.examples import Example, Place
from umr.label.inspect.statistics import Statistics
from umr.progress import Reporter
from umr.progress.foreign_text import Foreign
from umr.progress.terminal import clean, table_of_numbers

WIDTH = 100
"""Examples take no more columns than this."""
EXCERPT = 160
"""Cells of a passage that an example shows."""
SHARPNESS = (
    "score, spread, range, entropy: nats. spread: standard deviation of the scores of a query's candidates; range: best less worst. "
    "effective: candidates that the label is spread over, exp(entropy), of those scored. top: % of the label on its first passage."
)
AGREEMENT = (
    "tau-b, rho: rank correlation of label and retriever. changed: % of queries whose first passage is not the retriever's; "
    "old place: where the retriever had it. kept: % of the label on the retriever's first. "
    "own language: % of queries whose first passage is in their language, retriever -> label."
)
COMBINED = " LM's tau-b: of the language model's scores alone; the label is made of more than these."
SHOWN = ("also", "fuse", "correct", "scale", "screen", "temperature")
"""Options that the title names, where they are set."""


def inspected(workspace: Workspace, number: int | None, reporter: Reporter) -> Result:
    """Inspect the labels of a round.

    Arguments:
        workspace: with a labelled round.
        number: the round; None for the newest labelled one.
        reporter: told what takes time.
    """
    found = inspect_labels(workspace, number, reporter=reporter)
    return Result(found.data(), shown(found))


def shown(found: Inspection) -> list[RenderableType]:
    """An inspection as a person reads it: tables, examples, and last what looks wrong."""
    parts: list[RenderableType] = [_sharpness(found), _agreement(found)]
    for lang, chosen in found.examples.items():
        if chosen:
            row = found.per_language[lang]
            parts.append(
                f"\n{clean(lang)}: {row.changed * row.queries:,.0f} of {row.queries:,} first passages changed; the largest shifts:\n"
            )
            parts += [side_by_side(e) for e in chosen]
    if found.macro.unscored:
        parts.append(f"{found.macro.unscored:,} candidates have no score and are left out")
    return parts + [Text.assemble(("warning: ", "yellow"), clean(words)) for words in found.warnings]


def _sharpness(found: Inspection) -> Table:
    """How sharp the labels are."""
    table = table_of_numbers(_title(found), SHARPNESS, "language", "queries", "score", "spread", "range", "entropy", "effective", "top")
    for name, row in _rows(found):
        numbers = (f"{row.score:.3f}", f"{row.spread:.3f}", f"{row.range:.2f}", f"{row.entropy:.2f}")
        table.add_row(name, f"{row.queries:,}", *numbers, f"{row.effective:.1f}/{row.candidates:.1f}".removesuffix(".0"), _percent(row.top))
    return table


def _agreement(found: Inspection) -> Table:
    """How far they follow the retriever, and what they change."""
    note, columns = AGREEMENT + (COMBINED if found.combined else ""), ("LM's\ntau-b",) * found.combined
    table = table_of_numbers(None, note, "language", *columns, "tau-b", "rho", "changed", "old place", "kept", "own language")
    for name, row in _rows(found):
        own = f"{100 * row.own_retriever:.0f} -> {100 * row.own_label:3.0f}" if row.own_label == row.own_label else "-"
        correlations = (*(_signed(row.score_tau),) * found.combined, _signed(row.tau), _signed(row.rho))
        table.add_row(name, *correlations, _percent(row.changed), f"{row.place:.1f}", _percent(row.kept), own)
    return table


def _title(found: Inspection) -> Text:
    """Round, language model, and the options that shape the labels."""
    options = {name.replace("_", " "): found.made_from.get(name) for name in SHOWN}
    named = [f"{name} {_value(value)}" for name, value in options.items() if value and value != "none"]
    return Text(clean(", ".join([f"labels of round {found.number}: {found.lm}", *named])))


def _value(value: object) -> str:
    """Of an option; of further language models, how many."""
    if isinstance(value, list):
        return f"{len(value)} more"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(found: Inspection) -> list[tuple[Text, Statistics]]:
    """The languages, and the macro row where there are several."""
    rows = [(Text(clean(lang)), row) for lang, row in found.per_language.items()]
    return [*rows, (Text("macro", "bold"), found.macro)] if len(rows) != 1 else rows


def side_by_side(example: Example) -> RenderableType:
    """An example in at most 100 columns: the query, below it the two first passages beside each other."""
    grid = Table.grid(padding=(0, 2), expand=True)
    for _ in range(2):
        grid.add_column(ratio=1)
    sides = [("retriever's first", example.retriever), ("label's first", example.label)]
    for cells in zip(*(_side(name, place) for name, place in sides), strict=True):
        grid.add_row(*cells)
    head = Text(f"{clean(example.query_id)}, shift of the label {example.shift:.2f} nats", "dim")
    return Constrain(Group(Foreign(example.query, style="bold"), head, grid, Text("")), WIDTH)


def _side(name: str, place: Place) -> list[RenderableType]:
    """One passage: who put it first, its id and title, its numbers, the beginning of its text."""
    numbers = f"{place.retriever_score:.4f} at place {place.rank}; score {place.score:.3f}; label {100 * place.label:.1f}\u00a0%"
    title = f"{place.passage_id}  {place.title}" if place.title else place.passage_id
    return [Foreign(f"{name}: {title}", 90, "cyan"), Text(numbers), Foreign(place.text, EXCERPT)]


def _percent(value: float) -> str:
    """0.7564 -> 75.6; NaN -> -."""
    return f"{100 * value:.1f}" if value == value else "-"


def _signed(value: float) -> str:
    """0.41 -> +0.41; NaN -> -."""
    return f"{value:+.2f}" if value == value else "-"
