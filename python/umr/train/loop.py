"""The training loop: order, schedule, validation, checkpoints. A resumed run takes the very steps of an unbroken one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import TrainConfig
from umr.data.labels import Labels
from umr.errors import InputError, Interrupted, ScoreError
from umr.models.device import keep_precision
from umr.models.feeding import prefetch
from umr.models.group import ALONE, Group, join, whole
from umr.progress import Bar, Reporter
from umr.progress.clock import Clock
from umr.train.averages import MovingAverage, merge_with_start, put
from umr.train.batches import Rows, Split, batch_at, clearest, split_queries, steps_an_epoch
from umr.train.checkpoint import History, load_best, load_state, save_best, save_state, weights_of
from umr.train.curve import Curve, Tracker
from umr.train.distillation import SHARP, BatchInputs, Objective, Validation
from umr.train.encoders import TrainingEncoders
from umr.train.interrupt import Stop, deferred_interrupt
from umr.train.weights import merge_adapters, optimiser_of

CHECKPOINT_SECONDS = 300.0
CURVE = "curve.jsonl"
CALIBRATED_ON = 256  # queries at most, by which a temperature is chosen
CHECK_STEPS = {"cpu": 1, "cuda": 16}  # after which a GPU is waited for, to see whether losses are finite


@contextmanager
def begun(
    encoders: TrainingEncoders,
    labels: Labels,
    config: TrainConfig,
    made_from: Mapping[str, Any],
    folder: Path,
    reporter: Reporter,
    group: Group = ALONE,
) -> Iterator[Training]:
    """A training that begins, or goes on from its last state; torch's own random numbers are left as they were.

    Arguments:
        encoders: both sides.
        labels: of all queries.
        config: everything about the training.
        made_from: the configuration as manifests record it.
        folder: of the unfinished training.
        reporter: shows the steps and validations.
        group: processes that train together; the leader writes the files.

    Raises:
        InputError: there are no queries to train on.
    """
    usable: NDArray[np.bool_] = np.logical_or.reduce(np.isfinite(labels.labels), axis=1)
    if not usable.all():
        reporter.say(f"{int((~usable).sum()):,} of {len(usable):,} queries have no candidate: left out of the training")
    kept = clearest(labels.scores, usable, config.drop)
    if not kept[usable].all():
        reporter.say(f"{int(usable.sum() - kept.sum()):,} of {int(usable.sum()):,} queries whose labels say least are left out (drop)")
    split = split_queries(kept, config.held_out, config.seed)
    if not len(split.training):
        raise InputError("there are no queries to train on", "mine and label at least two queries")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        precision = keep_precision(folder / "plan.json", config.precision, encoders.query.encoder.device, reporter)
        yield Training(Objective(encoders, config, precision, group), labels, split, made_from, folder, reporter)


class Training:
    """One training.

    Arguments:
        objective: with the encoders, which are trained in place.
        labels: of all queries.
        split: the queries trained on and those held out.
        made_from: the configuration as manifests record it.
        folder: of the unfinished training.
        reporter: shows the steps and validations.
    """

    def __init__(
        self, objective: Objective, labels: Labels, split: Split, made_from: Mapping[str, Any], folder: Path, reporter: Reporter
    ) -> None:
        self.objective, self.labels, self.split, self.config = objective, labels, split, objective.config
        self.group = objective.group
        self.made_from, self.folder, self.reporter = made_from, folder, reporter
        self.trained = objective.encoders.trained()
        self.steps = steps_an_epoch(len(split.training), self.config.batch_size)
        self.total = self.config.epochs * self.steps
        self.optimiser, self.weights = optimiser_of(self.trained.values(), self.config), weights_of(self.trained)
        self.start = {name: value.detach().clone() for name, value in self.weights.items()} if self.config.merge else {}
        self.average = MovingAverage(self.weights, self.config.ema)
        self.history = load_state(folder, self.weights, self.optimiser, self.average.values, made_from)
        self.history.total = self.total
        self.trackers: list[Tracker] = [Curve(folder / CURVE, self.history.steps)] if self.group.leads else []
        self.saved, self.device = time.monotonic(), objective.encoders.query.encoder.device
        self.unchecked: list[tuple[int, Rows, Tensor]] = []  # step, its queries, loss and norm of the gradient on the device

    def run(self) -> History:
        """Make the steps that are left, and leave the kept weights in the encoders.

        Raises:
            ScoreError: the loss is not finite.
        """
        self._choose_temperature()
        self._announce()
        self.train_mode()
        clock, before = Clock(self.total), self.history.steps
        with self.reporter.bar("training", self.total, "steps") as bar:
            bar.skip(before)
            if len(self.split.held_out) and not self.history.validation:
                self._begin_validation()
            with deferred_interrupt(self.reporter, patient=self.group.size > 1) as stop:
                self._steps(bar, stop)
        clock.advance(self.history.steps - before)
        self.reporter.say(f"trained {clock.summary('steps')}")
        put(self.weights, self.average.values)
        self.history.best = self.group.first(self.history.best)  # of files that the leader has written by then
        if self.config.keep == "best" and self.history.best_step >= 0:
            load_best(self.folder, self.weights, self.history)
        for encoder in self.trained.values():
            encoder.eval()
        if self.start and len(self.split.held_out):
            self._merge()
        for encoder in self.trained.values():
            join(encoder)
            merge_adapters(encoder)
        reached = self.history.merged["loss"] if self.history.merged else self.history.best_loss
        if self.history.best_step >= 0 and reached >= self.history.validation[0][1]:
            self.reporter.warn(
                "the validation loss never fell below the untrained encoder's: a smaller --learning-rate, or more queries, may help"
            )
        return self.history

    def train_mode(self) -> None:
        """Switch dropout on where the settings say so."""
        for encoder in self.trained.values():
            encoder.train(self.config.dropout)

    def _choose_temperature(self) -> None:
        """Divide cosines, unless the user says by what, by what makes the untrained encoders' loss least; a resumed training keeps it."""
        if self.config.student_temperature or not self.objective.cosine:
            return
        if not self.history.steps:
            rows = np.concatenate([self.split.training, self.split.held_out])  # nothing is trained yet: all are as good
            some = np.random.default_rng(self.config.seed).permutation(rows)[:CALIBRATED_ON]
            self.history.temperature = self.group.first(self.objective.calibrated(self.labels, some))
        self.objective = replace(self.objective, config=replace(self.config, student_temperature=self.history.temperature))

    def _announce(self) -> None:
        held = f", {len(self.split.held_out):,} held out" if len(self.split.held_out) else ""
        self.reporter.say(
            f"{len(self.split.training):,} queries{held}; {self.total:,} steps; similarities divided by {self.objective.temperature:g}"
        )
        if self.history.steps:
            self.reporter.say(f"going on from step {self.history.steps:,}")

    def _steps(self, bar: Bar, stop: Stop) -> None:
        for inputs in prefetch(map(self.inputs, range(self.history.steps, self.total)), self.device):
            if self._stopped_improving():
                self.reporter.say(f"no better validation loss in {self.config.patience} validations: ended at step {self.history.steps:,}")
                break
            self.step(inputs)
            self.history.steps += 1
            bar.advance(1)
            last = self.history.steps == self.total
            if len(self.split.held_out) and (last or self.history.steps % max(1, self.steps // self.config.evaluations) == 0):
                self._validate()
            asked = self._asked_to_stop(stop)
            if asked or (not last and self._state_is_due()):
                self._check()
                save_state(self.folder, self.weights, self.optimiser, self.average.values, self.history, self.made_from, self.group.leads)
                self.saved = time.monotonic()
            if asked:
                self.group.largest(0)  # nobody ends before the leader has saved: a launcher would end it too
                raise Interrupted(asked)

    def _asked_to_stop(self, stop: Stop) -> int:
        """The signal that any of the processes was sent; 0 for none. They ask each other when losses are looked at anyway."""
        if self.group.size == 1:
            return stop.signal
        due = self.history.steps % CHECK_STEPS[self.device.type] == 0 or self.history.steps == self.total or self._stopped_improving()
        return self.group.largest(stop.signal) if due else 0

    def _state_is_due(self) -> bool:
        """Whether a state is written after this step: by the leader; where weights are sharded, all have to give theirs."""
        due = self.group.leads and time.monotonic() - self.saved > CHECKPOINT_SECONDS
        if not self.group.sharded:
            return due
        return bool(self.history.steps % CHECK_STEPS[self.device.type] == 0 and self.group.first(due))

    def _stopped_improving(self) -> bool:
        history, patience = self.history, self.config.patience
        return patience > 0 and sum(step > max(0, history.best_step) for step, *_ in history.validation) >= patience

    def _merge(self) -> None:
        best, losses = merge_with_start(self.weights, self.start, lambda: self.objective.validation(self.labels, self.split.held_out).loss)
        self.history.merged = {"share": best, "loss": losses[best]}
        told = ", ".join(f"{loss:.4f} with {share:g}" for share, loss in losses.items())
        self.reporter.say(f"{best:g} of the trained weights, the rest as before (validation loss {told})")

    def inputs(self, step: int) -> BatchInputs:
        """The batch of a step, on the device."""
        return self.objective.inputs(batch_at(self.labels, self.split.training, self.config, step), step)

    def step(self, inputs: BatchInputs) -> None:
        """Add the gradients of a batch, and move the weights."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(inputs.step, self.total, self.config) * group["scale"]
        loss = self.objective.backward(inputs)
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.group.sum_gradients(parameters)
        norm = whole(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip))
        self.unchecked.append((inputs.step, inputs.batch.queries, torch.stack([loss, norm])))
        if len(self.unchecked) >= CHECK_STEPS[self.device.type] or inputs.step + 1 == self.total:
            self._check()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(inputs.step + 1)

    def _check(self) -> None:
        """Wait for the steps that were not looked at yet; their losses and gradients have to be finite."""
        values = torch.stack([found for *_, found in self.unchecked]).tolist() if self.unchecked else []
        for (step, queries, _), (loss, norm) in zip(self.unchecked, values, strict=True):
            self._require_finite(loss, f"the loss of step {step}", queries)
            self._require_finite(norm, f"the norm of the gradient of step {step}", queries)
            self._log({"loss": loss, "gradient_norm": norm, "learning_rate": learning_rate(step, self.total, self.config)}, step + 1)
        self.unchecked.clear()

    def _require_finite(self, value: float, what: str, queries: Rows) -> None:
        if not math.isfinite(value):
            names = ", ".join(self.labels.candidates.query_ids[q] for q in queries[:4])
            raise ScoreError(f"{what} is {value} (queries {names}, ...)", "lower --learning-rate, or use --precision fp32")

    def _validate(self) -> None:
        self._check()
        history = self.history
        with self.average.in_place():
            loss, first, near, _ = found = self._validated()
            self._require_finite(loss, f"the validation loss after step {history.steps}", self.split.held_out)
            self._note_validation(found)
            if loss < history.best_loss:
                history.best_step, history.best_loss = history.steps, loss
                if self.config.keep == "best" and (self.group.leads or self.group.sharded):
                    save_best(self.folder, self.weights, history, self.group.leads)
        best = " (best)" if history.best_step == history.steps else ""
        masked = f", {near:.1f} likely false negatives a query left out" if self.config.false_negatives == "mask" else ""
        self.reporter.say(f"step {history.steps:,}: validation loss {loss:.4f}, first as labelled {first:.1%}{masked}{best}")

    def _validated(self) -> Validation:
        """The leader's, so that unlike processors take the same decisions."""
        return Validation(*self.group.first(self.objective.validation(self.labels, self.split.held_out)))

    def _begin_validation(self) -> None:
        found = self._validated()
        self._note_validation(found)
        if found.sharp > 0.5:
            self.reporter.warn(
                f"before it is trained, the encoder gives one passage more than {SHARP:.0%} for {found.sharp:.0%} of the held-out queries: "
                f"similarities divided by {self.objective.temperature:g} leave little to learn from; try a larger --student-temperature"
            )

    def _note_validation(self, found: Validation) -> None:
        self.history.validation.append((self.history.steps, found.loss, found.first))
        values = {"validation_loss": found.loss, "first_as_labelled": found.first, "likely_false_negatives": found.near}
        self._log(values, self.history.steps)

    def _log(self, values: dict[str, float], step: int) -> None:
        for tracker in self.trackers:
            tracker.log(values, step)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """The rate of a step: a linear rise over the warm-up, then a linear fall to 0.

    Arguments:
        step: from 0.
        total: steps in all.
        config: peak rate and share of the warm-up.
    """
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * (total - step) / max(1, total - warmup)
