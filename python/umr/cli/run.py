"""`umr init` and `umr run`: the whole run in one file; `umr plan`: what a run will take."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from umr.cli.forecast import planned
from umr.cli.options import Workers, option
from umr.cli.output import Result
from umr.errors import InputError, UsageError
from umr.plan import SHARES, Sizes, machines_of, number_of
from umr.presets import Preset
from umr.presets import preset as settings_of
from umr.progress import Reporter
from umr.rounds import run as loop
from umr.run_file import default_file, read_config
from umr.storage import storage_error

ForceFrom = Annotated[
    tuple[int, str] | None,
    option(
        "--force-from",
        help="Do this stage (mine, label, train) of this round and all after it again. What was trained is moved aside.",
        unit="round stage", panel="Input",
    ),
]  # fmt: skip


PresetOption = Annotated[
    Preset | None,
    option(
        "--preset", help="Settings of the paper's run on a data set, each with its source (xor-retrieve, xor-full).",
        unit="choice", panel="Input",
    ),
]  # fmt: skip


def init(
    reporter: Reporter,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("run.toml"),
    preset: PresetOption = None,
) -> Result:
    """Write a TOML file with every setting of every stage: its default, its unit and what it does."""
    try:
        with file.open("x", encoding="utf-8") as handle:
            handle.write(default_file(settings_of(preset) if preset else {}))
    except FileExistsError as error:
        raise InputError(f"{file} is there already, and is not written over", "give another name: umr init OTHER.toml") from error
    except OSError as error:
        raise storage_error(error, file, "write") from error
    what = "see that its files are there" if preset else "fill in passages, queries, the encoder's model and the language model"
    lines = [f"{file} is written: {what}", f"next: umr run {file}"]
    return Result({"file": str(file)}, [*lines])


def run(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file; `umr init` writes one.", show_default=False)],
    reporter: Reporter,
    force_from: ForceFrom = None,
    workers: Workers = None,
) -> Result:
    """Run all rounds of a TOML file. Run again, it goes on where it stopped."""
    settings = read_config(config)
    workspace = loop(settings, reporter, force_from)
    folder = workspace.encoder_of(settings.rounds).model
    return Result({"rounds": settings.rounds, "encoder": folder}, [f"{settings.rounds} rounds done: the encoder is {folder}"])


def _amount(help: str, panel: str = "Input") -> Any:
    return option(help=help, unit="number", panel=panel)


def plan(
    passages: Annotated[str, _amount("Passages: 44M.")],
    lm: Annotated[str, _amount("Weights of the language model: 3.7B.")],
    gpus: Annotated[str, option(help="How many of what: 8xH100, or any name with --rate.", unit="NxKIND", panel="Input")],
    reporter: Reporter,
    queries: Annotated[str | None, _amount("Queries: 15250.")] = None,
    questions: Annotated[str | None, _amount("The same as --queries.")] = None,
    encoder: Annotated[str, _amount("Weights of one side of the encoder, without embeddings. (default: 86M, a base model's)")] = "86M",
    rounds: Annotated[int, option(help="Rounds. (default: 1)", unit="number", min=1, panel="Input")] = 1,
    top_k: Annotated[int, option(help="Candidates of a query. (default: 100)", unit="passages", min=1, panel="Input")] = 100,
    passage_tokens: Annotated[float, option(help="Of a passage, on average. (default: 150)", unit="tokens", min=1, panel="Input")] = 150,
    query_tokens: Annotated[float, option(help="Of a query, on average. (default: 20)", unit="tokens", min=1, panel="Input")] = 20,
    dimensions: Annotated[int, option(help="Of a vector. (default: 768)", unit="number", min=1, panel="Input")] = 768,
    epochs: Annotated[int, option(help="Of training. (default: 10)", unit="epochs", min=1, panel="Input")] = 10,
    price: Annotated[float, option(help="Of one GPU for an hour. (default: 0)", unit="money", min=0, panel="Input")] = 0.0,
    rate: Annotated[
        list[str] | None,
        option(help="Measured tokens a second of one process: encode=N, label=N, train=N; may be repeated.", unit="stage=N", panel="Input"),
    ] = None,
) -> Result:
    """Say what a run will take before anything is there: tokens, operations, memory, disk, hours and money of each stage.

    By arithmetic alone; docs/scale.md has its assumptions. `--dry-run` of a stage measures instead.
    """
    if (queries is None) == (questions is None):
        raise UsageError("--queries is missing, or there twice", "say how many: --queries 15250")
    given = {"passages": passages, "queries": queries or questions or "", "lm": lm, "encoder": encoder}
    numbers = {name: number_of(text, name) for name, text in given.items()}
    rates = dict(_rate(one) for one in rate or ())
    sizes = Sizes(
        int(numbers["passages"]), int(numbers["queries"]), numbers["lm"], numbers["encoder"], passage_tokens, query_tokens, dimensions,
        top_k=top_k, epochs=epochs,
    )  # fmt: skip
    stages = sizes.stages(machines_of(gpus, price, rates))
    return Result({"rounds": rounds, "stages": {name: asdict(stage) for name, stage in stages.items()}}, planned(stages, rounds, gpus))


def _rate(text: str) -> tuple[str, float]:
    stage, _, number = text.partition("=")
    if stage not in SHARES or not number:
        raise UsageError(f"--rate is {text!r}", f"write STAGE=TOKENS_A_SECOND; stages: {', '.join(SHARES)}")
    return stage, number_of(number, "rate")
