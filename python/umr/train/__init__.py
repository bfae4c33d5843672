"""The third stage: distil the labels into the encoder (paper, section 3.3)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from umr.config import MineConfig, TrainConfig
from umr.data.labels import labels_of
from umr.data.workspace import Workspace, require_mined_with, round_for
from umr.layout import RoundLayout
from umr.manifest import read_manifest, require_same, write_manifest
from umr.progress import Reporter, Silent

if TYPE_CHECKING:
    from pathlib import Path

    from umr.train.checkpoint import History


def train(
    workspace: Workspace,
    config: TrainConfig,
    number: int | None = None,
    reporter: Reporter | None = None,
    force: bool = False,
) -> Path:
    """Train the encoder of a round on its labels; a finished round is left, a killed one continues from its last state.

    Arguments:
        workspace: passages and queries.
        config: everything about the training.
        number: the round; None for the newest.
        reporter: shows what is done.
        force: train again even where the round is trained.

    Returns:
        the folder of the trained encoder.

    Raises:
        MismatchError: the round was trained, or began to be, with another configuration.
    """
    from umr._rust import fingerprint_files

    reporter = reporter or Silent()
    place = round_for(workspace.layout, "train", number)
    require_mined_with(workspace, place)
    made_from = {key: value for key, value in asdict(config).items() if key not in ("device", "chunk_tokens")}
    made_from["labels"] = fingerprint_files([str(place.labels)])
    made_from |= _centred_with(place)
    if place.trained.exists() and not force:
        found = read_manifest(place.trained, "train")["made_from"]
        require_same(
            place.trained,
            f"round {place.number} was trained",
            found,
            made_from,
            "leave the options as they were, or redo it with --force",
        )
        reporter.say(f"round {place.number} is trained already: {place.encoder}")
        return place.encoder
    _train(workspace, place, config, made_from, reporter, force)
    return place.encoder


def _train(
    workspace: Workspace,
    place: RoundLayout,
    config: TrainConfig,
    made_from: dict[str, Any],
    reporter: Reporter,
    force: bool,
) -> None:
    import shutil

    from umr.encoder.centre import means_record
    from umr.encoder.encode import encoder_identity
    from umr.encoder.encoder import load_encoder
    from umr.encoder.export import save_encoder
    from umr.models.device import pick_device
    from umr.train.loop import run
    from umr.train.towers import prepare

    encoder = load_encoder(workspace.encoder_of(place.number), pick_device(config.device), reporter)
    found = read_manifest(place.mined, "mine")
    require_same(place.mined, f"round {place.number} was mined", found, encoder_identity(encoder), "mine the round again with --force")
    if force:
        shutil.rmtree(place.training, ignore_errors=True)
    towers = prepare(workspace, place, encoder, config, _mined_with(place), reporter)
    require_same(
        place.mined, f"round {place.number} was mined", found, means_record(towers.encoder.means), "mine the round again with --force"
    )
    history = run(towers, labels_of(place), config, made_from, place.training, reporter)
    place.trained.unlink(missing_ok=True)
    save_encoder(towers.encoder, place.encoder)
    if towers.encoder.means and towers.encoder.means.centre == "language":
        reporter.say("umr centres this encoder's vectors by language; other libraries that load it give them as they are before that")
    write_manifest(place.trained, "train", made_from, _contents(history, config))
    shutil.rmtree(place.training, ignore_errors=True)


def _centred_with(place: RoundLayout) -> dict[str, Any]:
    found = read_manifest(place.mined, "mine")
    return {"means": found["means"]} if found.get("means") else {}


def _mined_with(place: RoundLayout) -> MineConfig:
    return MineConfig(**read_manifest(place.mined, "mine")["config"])


def _contents(history: History, config: TrainConfig) -> dict[str, Any]:
    best = config.keep == "best" and history.best_step >= 0
    return {"steps": history.steps, "kept_step": history.best_step if best else history.steps, "validation": history.validation}
