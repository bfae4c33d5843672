"""The third stage: distil the labels into the encoder (paper, section 3.3)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umr.config import MineConfig, TrainConfig
from umr.data.labels import labels_of, saturation
from umr.data.workspace import Workspace, require_labels_of, require_mined_with, round_for
from umr.errors import FormatError, MismatchError
from umr.layout import RoundLayout
from umr.manifest import checksums, read_manifest, require_same, require_whole, write_manifest
from umr.progress import Reporter, Reporting, reporter_of
from umr.progress.clock import Clock, duration
from umr.run_file import from_record
from umr.storage import beside
from umr.work.aside import make_room, move_aside
from umr.work.ranks import about

UNRELATED = ("device", "chunk_tokens", "track", "gradient_checkpointing", "shard")  # settings that do not decide what is trained

if TYPE_CHECKING:
    from umr.encoder.encoder import DualEncoder
    from umr.models.group import Group
    from umr.train.checkpoint import History
    from umr.train.curve import Tracker
    from umr.train.encoders import TrainingEncoders
    from umr.train.forecast import TrainingForecast
    from umr.train.loop import Training


def train(
    workspace: Workspace,
    config: TrainConfig,
    number: int | None = None,
    reporter: Reporting = None,
    force: bool = False,
    trackers: Sequence[Tracker] = (),
    group: Group | None = None,
) -> Path:
    """Train the encoder of a round on its labels; a finished round is left, a killed one continues from its last state.

    Arguments:
        workspace: passages and queries.
        config: everything about the training.
        number: the round; None for the newest.
        reporter: shows what is done: "console", a reporter of your own, or None for warnings alone.
        force: train again even where the round is trained; what was trained before is moved aside.
        trackers: told losses and rates of every step; the encoder's folder has them in curve.jsonl too.
        group: processes that train together; None for this one alone.

    Returns:
        the folder of the trained encoder.

    Raises:
        MismatchError: the round was trained, or began to be, with another configuration; or the processes differ in theirs.
        LockedError: another process writes to the work folder.
    """
    reporter, clock = reporter_of(reporter), Clock(0)
    place = round_for(workspace.layout, "train", number)
    if place.trained.exists() and not force:
        return _trained_before(workspace, place, config, reporter)
    with workspace.writing(reporter) if group is None or group.leads else nullcontext():
        if place.trained.exists() and not force:  # another process was quicker
            return _trained_before(workspace, place, config, reporter)
        made_from = _made_from(workspace, place, config)
        _train(workspace, place, config, made_from, reporter, trackers, group, force)
    next_command = f"umr mine {workspace.layout.folder} --round {place.number + 1}"
    reporter.say(f"round {place.number} trained in {duration(clock.elapsed)}: {place.encoder}; next: {next_command}")
    return place.encoder


def _made_from(workspace: Workspace, place: RoundLayout, config: TrainConfig) -> dict[str, Any]:
    """What decides the trained encoder.

    Raises:
        MismatchError: candidates or labels are not of one making.
    """
    require_mined_with(workspace, place)
    require_labels_of(workspace, place)
    means = read_manifest(place.mined, "mine").get("means")
    options = {key: value for key, value in asdict(config).items() if key not in UNRELATED}
    return {**options, "labels": checksums(place.labels)[place.labels.name], **({"means": means} if means else {})}


def _trained_before(workspace: Workspace, place: RoundLayout, config: TrainConfig, reporter: Reporter) -> Path:
    # An option that umr did not have at the time was at its default.
    found = {**asdict(TrainConfig()), **read_manifest(place.trained, "train")["made_from"]}
    hint = "leave the options as they were, or train again with --force: the encoder of before is moved aside"
    require_same(place.trained, f"round {place.number} was trained", found, _made_from(workspace, place, config), hint)
    reporter.say(f"round {place.number} is trained already: {place.encoder}")
    return place.encoder


def _settle_unfinished(place: RoundLayout, made_from: dict[str, Any], force: bool, reporter: Reporter) -> None:
    """Leave an unfinished training that goes on; refuse one with other options or damaged files; with `force` move it aside."""
    if not place.training_state.exists():
        return
    hint = "leave options and files as they were, or begin again with --force: the unfinished training is moved aside"
    try:
        found = read_manifest(place.training_state, "training")
        require_same(place.training_state, "the training began", found["made_from"], made_from, hint)
        require_whole(place.training_state, found, hint)
    except (FormatError, MismatchError):
        if not force:
            raise
        move_aside(place, [place.training], f"the unfinished training of round {place.number}", reporter)


def forecast_training(workspace: Workspace, config: TrainConfig, number: int | None = None, reporter: Reporting = None) -> TrainingForecast:
    """What training a round will take, from some steps that are made and dropped.

    Arguments:
        workspace, config, number, reporter: see `train`.

    Raises:
        LockedError: another process writes to the work folder.
    """
    from umr.train.forecast import forecast
    from umr.train.loop import begun

    reporter = reporter_of(reporter)
    place = round_for(workspace.layout, "train", number)
    with workspace.writing(reporter), tempfile.TemporaryDirectory(prefix="umr-") as folder:
        made_from = _made_from(workspace, place, config)
        encoders = _prepared(workspace, place, config, reporter)
        with (
            reporter.bar("making some steps", 0, ""),
            begun(encoders, labels_of(place), config, made_from, Path(folder), reporter) as training,
        ):
            return forecast(training)


def _prepared(workspace: Workspace, place: RoundLayout, config: TrainConfig, reporter: Reporter) -> TrainingEncoders:
    """The encoders of the round, as it was mined with them."""
    from umr.encoder.centre import means_record
    from umr.encoder.encode import encoder_identity
    from umr.encoder.load import load_encoder
    from umr.models.device import pick_device
    from umr.train.encoders import prepare

    mined = read_manifest(place.mined, "mine")
    what, hint = f"round {place.number} was mined", "mine the round again with --force"
    with reporter.bar("loading the encoder", 0, ""):
        encoder = load_encoder(workspace.encoder_of(place.number), pick_device(config.device), reporter)
    require_same(place.mined, what, mined, encoder_identity(encoder), hint)
    reporter.say(f"training in {place.folder.name}")
    encoders = prepare(workspace, encoder, config, from_record(MineConfig, mined["config"], place.mined), reporter)
    require_same(place.mined, what, mined, means_record(encoders.dual.means), hint)
    return encoders


def _train(
    workspace: Workspace,
    place: RoundLayout,
    config: TrainConfig,
    made_from: dict[str, Any],
    reporter: Reporter,
    trackers: Sequence[Tracker],
    group: Group | None,
    force: bool,
) -> None:
    from umr.models.device import pick_device
    from umr.models.group import ALONE
    from umr.train.encoders import reloaded
    from umr.train.loop import begun
    from umr.train.weights import layers_of

    group, how = group or ALONE, {"shard": config.shard, "chunk_tokens": config.chunk_tokens}
    group.require_same(about("train", place.number, made_from, **how, **workspace.fingerprints()))
    with group.leader_first():
        if group.leads:
            _settle_unfinished(place, made_from, force, reporter)
        encoders = _prepared(workspace, place, config, reporter)
    if config.shard and not group.sharded:
        reporter.warn("shard is set, but one process trains: nothing is sharded")
    for encoder in encoders.trained().values() if group.sharded else ():
        group.shard(encoder, layers_of(encoder, "shard"))
    labels = labels_of(place)
    if saturated := saturation(labels):
        reporter.warn(saturated)
    with ExitStack() as stack:
        with group.leader_first():
            training = stack.enter_context(begun(encoders, labels, config, made_from, place.training, reporter, group))
        history = _run(training, config, place, trackers)
    with group.leader_first():
        if group.leads:
            dual = reloaded(encoders.dual, place.training, pick_device(config.device)) if group.sharded else encoders.dual
            _save(workspace, place, config, made_from, dual, history, reporter)


def _run(training: Training, config: TrainConfig, place: RoundLayout, trackers: Sequence[Tracker]) -> History:
    from umr.train.curve import tracker_for

    if training.group.leads:
        training.trackers += [*trackers, *tracker_for(config.track, place.folder, training.history.steps, asdict(config))]
    try:
        return training.run()
    finally:
        for tracker in training.trackers:
            tracker.finish()


def _save(
    workspace: Workspace,
    place: RoundLayout,
    config: TrainConfig,
    made_from: dict[str, Any],
    trained: DualEncoder,
    history: History,
    reporter: Reporter,
) -> None:
    """Write the encoder, its curve and its card, and the manifest last."""
    from umr.encoder.export import save_encoder
    from umr.train.card import CARD, card
    from umr.train.encoders import centred_anew
    from umr.train.loop import CURVE

    mined = from_record(MineConfig, read_manifest(place.mined, "mine")["config"], place.mined)
    trained = centred_anew(workspace, trained, config, mined, reporter)
    make_room(place, "train", reporter)
    save_encoder(trained, place.encoder)
    with beside(place.encoder / CURVE) as curve, beside(place.encoder / CARD) as readme:
        shutil.copyfile(place.training / CURVE, curve)
        readme.write_text(card(workspace, place, config, history), encoding="utf-8")
    if trained.means and trained.means.centre == "language":
        reporter.say("umr centres this encoder's vectors by language; other libraries that load it give them as they are before that")
    best = config.keep == "best" and history.best_step >= 0
    kept = history.best_step if best else history.steps
    made = sorted(path for path in place.encoder.rglob("*") if path.is_file() and path.name != CARD)  # people edit cards
    files = checksums(*made, folder=place.folder)
    contents = {"steps": history.steps, "kept_step": kept, "validation": history.validation, "merged": history.merged, "files": files}
    contents |= {"temperature": history.temperature} if history.temperature else {}
    write_manifest(place.trained, "train", made_from, contents)
    shutil.rmtree(place.training, ignore_errors=True)
