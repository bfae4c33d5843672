"""`--dry-run`: what a stage will take, in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import RenderableType
from rich.table import Table

from umr.cli.options import option
from umr.progress.clock import duration
from umr.progress.terminal import clean

if TYPE_CHECKING:
    from umr.label.plan.forecast import Forecast
    from umr.mine.forecast import MiningForecast
    from umr.plan import Stage
    from umr.train.forecast import TrainingForecast

DryRun = Annotated[
    bool, option("--dry-run", help="Show what there is to do (time, memory, disk), by timing a little of it, and stop.", panel="Output")
]
Rows = tuple[tuple[str, Callable[[Any], str]], ...]
"""Name and cell of each line of a table."""


def labelling(number: int, found: Sequence[Forecast]) -> list[RenderableType]:
    """A column for each language model."""
    return [_table(f"labelling round {number}", LABELLING, {forecast.lm: forecast for forecast in found}), LABELLING_NOTE]


def mining(number: int, found: MiningForecast) -> list[RenderableType]:
    """Of one round."""
    return [_table(f"mining round {number}", MINING, {"": found}), MINING_NOTE]


def training(number: int, found: TrainingForecast) -> list[RenderableType]:
    """Of one round."""
    return [_table(f"training round {number}", TRAINING, {"": found}), TRAINING_NOTE]


def planned(stages: Mapping[str, Stage], rounds: int, machines: str) -> list[RenderableType]:
    """What each stage of a round takes, and what all rounds do."""
    seconds, money = (rounds * sum(getattr(stage, name) for stage in stages.values()) for name in ("seconds", "money"))
    total = f"{rounds} {'round' if rounds == 1 else 'rounds'} on {machines}: {_time(seconds)}" + (
        f", costing {money:,.0f}" if money else ""
    )
    return [_table(f"a round on {machines}", PLAN, stages), total, PLAN_NOTE]


def _table(title: str, rows: Rows, columns: Mapping[str, Any]) -> Table:
    """A column for each forecast, by its heading, and a line for each number."""
    made = Table(title=title, show_header=any(columns))
    made.add_column("")
    for name in columns:
        made.add_column(clean(name), justify="right", overflow="fold")
    for name, cell in rows:
        made.add_row(name, *(cell(forecast) for forecast in columns.values()))
    return made


def _time(seconds: float | None) -> str:
    return f"about {duration(seconds)}" if seconds else "none"


def _size(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.2f} MB"


PLAN_NOTE = (
    "tokens: through a model; of the search, products of two vectors. memory: of one GPU. disk: what the stage leaves. By arithmetic, "
    "with shares of the GPU's peak that are assumed unless --rate gives what was measured; --dry-run of a stage times the real thing."
)
LABELLING_NOTE = (
    "tokens: computed, and if every pair were computed by itself. operations: of the products with weights. "
    "time: as some batches, scored here just now, took it. scores: what the new ones take on disk. "
    "No score is kept; the plan is, and labelling goes on with it."
)
MINING_NOTE = (
    "encoding: as a sample of the texts, encoded here just now, took it. searching: as a small search took it; the time of an "
    "approximate index is not known before. Further encoders, BM25 and runs are not counted. The token ids that were made stay."
)
TRAINING_NOTE = "time: as some steps and a validation, made here just now, took it. The encoder is as it was."
PLAN: Rows = (
    ("tokens", lambda f: f"{f.tokens:.3g}"),
    ("operations", lambda f: f"{f.operations:.3g}"),
    ("time", lambda f: _time(f.seconds)),
    ("memory", lambda f: _size(f.memory)),
    ("disk", lambda f: _size(f.disk)),
    ("money", lambda f: f"{f.money:,.0f}" if f.money else "-"),
)
LABELLING: Rows = (
    ("pairs", lambda f: f"{f.pairs:,}"),
    ("without a score", lambda f: f"{f.missing:,}"),
    ("their passages", lambda f: f"{f.passages:,}"),
    ("queries a passage", lambda f: f"{f.sharing:.1f}"),
    ("tokens", lambda f: f"{f.tokens:,}"),
    ("tokens pair by pair", lambda f: f"{f.whole:,}"),
    ("batches", lambda f: f"{f.batches:,}"),
    ("operations", lambda f: f"{f.flops:.3g}"),
    ("time", lambda f: _time(f.seconds)),
    ("scores", lambda f: _size(f.store)),
)
MINING: Rows = (
    ("passages", lambda f: f"{f.passages:,}"),
    ("queries", lambda f: f"{f.queries:,}"),
    ("without a vector", lambda f: f"{f.unencoded:,}"),
    ("their tokens", lambda f: f"{f.tokens:,}"),
    ("encoding", lambda f: _time(f.encoding)),
    ("searching", lambda f: _time(f.searching)),
    ("disk", lambda f: _size(f.disk)),
    ("memory", lambda f: _size(f.memory)),
)
TRAINING: Rows = (
    ("queries", lambda f: f"{f.queries:,}"),
    ("held out", lambda f: f"{f.held_out:,}"),
    ("steps", lambda f: f"{f.steps:,}"),
    ("tokens a step", lambda f: f"{f.tokens:,}"),
    ("validations", lambda f: f"{f.validations:,}"),
    ("time", lambda f: _time(f.seconds)),
    ("disk", lambda f: _size(f.disk)),
    ("memory", lambda f: _size(f.memory)),
)
