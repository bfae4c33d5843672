"""`umr train`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

from umr.cli.forecast import DryRun, training
from umr.cli.options import Force, Round, Work, Workers, option
from umr.cli.output import Result
from umr.config import TrainConfig
from umr.data.workspace import open_workspace, round_for
from umr.manifest import read_manifest
from umr.progress import Reporter
from umr.together import opened, ranks_for, train_together
from umr.train import forecast_training
from umr.train import train as stage

Hub = Annotated[
    str | None,
    option("--push-to-hub", help="Put the encoder on the model hub; a new repository is private.", unit="owner/name", panel="Output"),
]


def train(
    work: Work,
    config: TrainConfig,
    reporter: Reporter,
    round: Round = None,
    force: Force = False,
    dry_run: DryRun = False,
    push_to_hub: Hub = None,
    workers: Workers = None,
) -> Result:
    """Distil the labels into the encoder. sentence-transformers and transformers load the result as it is."""
    ranks = ranks_for(None, dry_run)
    workspace = opened(work, ranks, lambda: open_workspace(work, reporter))
    place = round_for(workspace.layout, "train", round)
    if dry_run:
        forecast = forecast_training(workspace, config, place.number, reporter)
        return Result({"round": place.number, "forecast": asdict(forecast)}, training(place.number, forecast))
    push_to_hub = push_to_hub if ranks is None or ranks.rank == 0 else None
    if push_to_hub:
        from umr.train.card import open_on_hub

        open_on_hub(push_to_hub)
    train = partial(train_together, ranks=ranks) if ranks else stage
    folder = train(workspace, config, place.number, reporter, force)
    made = read_manifest(place.trained, "train")
    losses = {step: loss for step, loss, *_ in made["validation"]}
    reached = made["merged"]["loss"] if made.get("merged") else losses.get(made["kept_step"])
    change = f", validation loss {losses[0]:.4f} -> {reached:.4f}" if losses else ""
    if push_to_hub:
        from umr.train.card import push_to_hub as push

        reporter.say(f"on the hub: {push(folder, push_to_hub)}")
    data = {"round": place.number, "encoder": str(folder), "steps": made["steps"], "validation": made["validation"]}
    return Result(data, [f"round {place.number}: trained encoder in {folder} ({made['steps']:,} steps{change})"])
