"""The third stage: distil the labels into the encoder (paper, section 3.3)."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from umr.config import MineConfig, TrainConfig
from umr.data.labels import labels_of, saturation
from umr.data.workspace import Workspace, require_mined_with, round_for
from umr.layout import RoundLayout
from umr.manifest import read_manifest, require_same, write_manifest
from umr.progress import Reporter, Reporting, reporter_of
from umr.progress.clock import Clock, duration

if TYPE_CHECKING:
    from pathlib import Path


def train(
    workspace: Workspace,
    config: TrainConfig,
    number: int | None = None,
    reporter: Reporting = None,
    force: bool = False,
) -> Path:
    """Train the encoder of a round on its labels; a finished round is left, a killed one continues from its last state.

    Arguments:
        workspace: passages and queries.
        config: everything about the training.
        number: the round; None for the newest.
        reporter: shows what is done: "console", a reporter of your own, or None for warnings alone.
        force: train again even where the round is trained.

    Returns:
        the folder of the trained encoder.

    Raises:
        MismatchError: the round was trained, or began to be, with another configuration.
    """
    from umr._rust import fingerprint_files

    reporter = reporter_of(reporter)
    place = round_for(workspace.layout, "train", number)
    require_mined_with(workspace, place)
    mined = read_manifest(place.mined, "mine")
    made_from = {key: value for key, value in asdict(config).items() if key not in ("device", "chunk_tokens")}
    made_from |= {"labels": fingerprint_files([str(place.labels)]), **({"means": mined["means"]} if mined.get("means") else {})}
    if place.trained.exists() and not force:
        found = read_manifest(place.trained, "train")["made_from"]
        hint = "leave the options as they were, or redo it with --force"
        require_same(place.trained, f"round {place.number} was trained", found, made_from, hint)
        reporter.say(f"round {place.number} is trained already: {place.encoder}")
        return place.encoder
    if force:
        shutil.rmtree(place.training, ignore_errors=True)
    clock = Clock(0)
    _train(workspace, place, config, mined, made_from, reporter)
    next_command = f"umr mine {workspace.layout.folder} --round {place.number + 1}"
    reporter.say(f"round {place.number} trained in {duration(clock.elapsed)}: {place.encoder}; next: {next_command}")
    return place.encoder


def _train(
    workspace: Workspace, place: RoundLayout, config: TrainConfig, mined: dict[str, Any], made_from: dict[str, Any], reporter: Reporter
) -> None:
    from umr.encoder.centre import means_record
    from umr.encoder.encode import encoder_identity
    from umr.encoder.encoder import load_encoder
    from umr.encoder.export import save_encoder
    from umr.models.device import pick_device
    from umr.train.encoders import prepare
    from umr.train.loop import run

    what, hint = f"round {place.number} was mined", "mine the round again with --force"
    with reporter.bar("loading the encoder", 0, ""):
        encoder = load_encoder(workspace.encoder_of(place.number), pick_device(config.device), reporter)
    require_same(place.mined, what, mined, encoder_identity(encoder), hint)
    reporter.say(f"training in {place.folder.name}")
    encoders = prepare(workspace, encoder, config, MineConfig(**mined["config"]), reporter)
    means = encoders.dual.means
    require_same(place.mined, what, mined, means_record(means), hint)
    labels = labels_of(place)
    if saturated := saturation(labels):
        reporter.warn(saturated)
    history = run(encoders, labels, config, made_from, place.training, reporter)
    place.trained.unlink(missing_ok=True)
    save_encoder(encoders.dual, place.encoder)
    if means and means.centre == "language":
        reporter.say("umr centres this encoder's vectors by language; other libraries that load it give them as they are before that")
    best = config.keep == "best" and history.best_step >= 0
    kept = history.best_step if best else history.steps
    write_manifest(place.trained, "train", made_from, {"steps": history.steps, "kept_step": kept, "validation": history.validation})
    shutil.rmtree(place.training, ignore_errors=True)
