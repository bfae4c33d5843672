"""What `umr label --dry-run` shows: a column for each language model, a line for each number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from umr.cli.foreign_text import clean
from umr.cli.output import Result
from umr.config import LabelConfig
from umr.data.workspace import Workspace, round_for
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr.label.plan.forecast import Forecast

NOTE = (
    "tokens: computed, and if every pair were computed by itself. operations: of the products with weights. "
    "time: as a part of a batch, scored here just now, took it. scores: what the new ones take on disk. "
    "No score is kept; the plan is, and labelling goes on with it."
)


def forecasted(workspace: Workspace, config: LabelConfig, number: int | None, reporter: Reporter) -> Result:
    """Forecast the labelling of a round.

    Arguments:
        workspace: with a mined round.
        config: of the stage.
        number: the round; None for the newest mined one.
        reporter: told what takes time.
    """
    from umr.label import forecast_labels

    place = round_for(workspace.layout, "label", number)
    found = forecast_labels(workspace, config, place.number, reporter)
    return Result({"round": place.number, "forecasts": [_data(one) for one in found]}, shown(place.number, found))


def _data(made: Forecast) -> dict[str, Any]:
    return asdict(made) | {"sharing": made.sharing}


def shown(number: int, found: Sequence[Forecast]) -> list[RenderableType]:
    """Forecasts as a person reads them."""
    table = Table(title=f"labelling round {number}", caption=NOTE, caption_justify="left")
    table.add_column("")
    for made in found:
        table.add_column(clean(made.lm), justify="right", overflow="fold")
    for name, cell in ROWS:
        table.add_row(name, *(cell(made) for made in found))
    return [table]


def _time(made: Forecast) -> str:
    from umr.label.plan.forecast import duration

    return f"about {duration(made.seconds)}" if made.seconds else "none"


ROWS: tuple[tuple[str, Callable[[Forecast], str]], ...] = (
    ("pairs", lambda f: f"{f.pairs:,}"),
    ("without a score", lambda f: f"{f.missing:,}"),
    ("their passages", lambda f: f"{f.passages:,}"),
    ("queries a passage", lambda f: f"{f.sharing:.1f}"),
    ("tokens", lambda f: f"{f.tokens:,}"),
    ("tokens pair by pair", lambda f: f"{f.whole:,}"),
    ("batches", lambda f: f"{f.batches:,}"),
    ("operations", lambda f: f"{f.flops:.3g}"),
    ("time", _time),
    ("scores", lambda f: f"{f.store / 1e6:,.2f} MB"),
)
