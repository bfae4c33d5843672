"""The training loop: order, schedule, validation, checkpoints. A resumed run takes the very steps of an unbroken one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from umr.config import TrainConfig
from umr.data.batches import Rows, Split, batch_at, split_queries, steps_an_epoch
from umr.data.labels import Labels
from umr.errors import InputError, ScoreError
from umr.models.device import keep_precision
from umr.progress import Bar, Reporter
from umr.train.checkpoint import History, load_state, load_weights, save_state, save_weights
from umr.train.interrupt import deferred_interrupt
from umr.train.step import Objective, accumulate, student_temperature, validation_loss
from umr.train.towers import Towers

CHECKPOINT_SECONDS = 300.0


def run(towers: Towers, labels: Labels, config: TrainConfig, made_from: Mapping[str, Any], folder: Path, reporter: Reporter) -> History:
    """Train the towers in place and leave the kept weights in them.

    Arguments:
        towers: both sides.
        labels: of all queries.
        config: everything about the training.
        made_from: the configuration as manifests record it.
        folder: of the unfinished training.
        reporter: shows the steps and validations.

    Raises:
        InputError: there are no queries to train on.
        ScoreError: the loss is not finite.
    """
    usable: NDArray[np.bool_] = np.logical_or.reduce(np.isfinite(labels.labels), axis=1)
    if not usable.all():
        reporter.say(f"{int((~usable).sum()):,} of {len(usable):,} queries have no candidate: left out of the training")
    split = split_queries(len(usable), config.held_out, config.seed, usable)
    if not len(split.training):
        raise InputError("there are no queries to train on", "mine and label at least two queries")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        return _Training(towers, labels, config, split, made_from, folder, reporter).run()


class _Training:
    def __init__(
        self,
        towers: Towers,
        labels: Labels,
        config: TrainConfig,
        split: Split,
        made_from: Mapping[str, Any],
        folder: Path,
        reporter: Reporter,
    ) -> None:
        self.towers, self.labels, self.config, self.split = towers, labels, config, split
        self.made_from, self.folder, self.reporter = made_from, folder, reporter
        self.steps = steps_an_epoch(len(split.training), config.batch_size)
        self.total = config.epochs * self.steps
        similarity = towers.query.tower.settings.similarity
        precision = keep_precision(folder / "plan.json", config.precision, towers.query.tower.device, reporter)
        self.objective = Objective(config, student_temperature(config, similarity), precision)
        self.optimiser = _optimiser(towers, config)
        self.saved = time.monotonic()

    def run(self) -> History:
        trained = self.towers.trained()
        history = load_state(self.folder, trained, self.optimiser, self.made_from)
        self._announce(history)
        for tower in trained.values():
            tower.train(self.config.dropout)
        with self.reporter.bar("training", self.total, "steps") as bar:
            bar.advance(history.steps)
            with deferred_interrupt(self.reporter) as stop:
                self._steps(history, bar, stop)
        if self.config.keep == "best" and history.best_step >= 0:
            load_weights(trained, self.folder / "best.safetensors")
        for tower in trained.values():
            tower.eval()
        self._warn_unless_better(history)
        return history

    def _warn_unless_better(self, history: History) -> None:
        if history.best_step >= 0 and history.best_loss >= history.validation[0][1]:
            self.reporter.warn(
                "the validation loss never fell below the untrained encoder's: a smaller --learning-rate, or more queries, may help"
            )

    def _announce(self, history: History) -> None:
        held = f", {len(self.split.held_out):,} held out" if len(self.split.held_out) else ""
        self.reporter.say(
            f"{len(self.split.training):,} queries{held}; {self.total:,} steps; similarities divided by {self.objective.temperature:g}"
        )
        if history.steps:
            self.reporter.say(f"going on from step {history.steps:,}")
        elif len(self.split.held_out):
            history.validation.append((0, self._validate()))

    def _steps(self, history: History, bar: Bar, stop: Event) -> None:
        while history.steps < self.total:
            self._step(history.steps)
            history.steps += 1
            bar.advance(1)
            if self._is_evaluation(history.steps):
                self._evaluate(history)
            due = time.monotonic() - self.saved > CHECKPOINT_SECONDS and history.steps < self.total
            if due or stop.is_set():
                save_state(self.folder, self.towers.trained(), self.optimiser, history, self.made_from)
                self.saved = time.monotonic()
            if stop.is_set():
                raise KeyboardInterrupt

    def _step(self, step: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, self.total, self.config)
        batch = batch_at(self.labels, self.split.training, self.config, step)
        loss = accumulate(self.towers, batch, self.objective, step)
        self._require_finite(loss, f"the loss of step {step}", batch.queries)
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip).item()
        self._require_finite(norm, f"the norm of the gradient of step {step}", batch.queries)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _require_finite(self, value: float, what: str, queries: Rows) -> None:
        if not math.isfinite(value):
            names = ", ".join(self.labels.candidates.query_ids[q] for q in queries[:4])
            raise ScoreError(f"{what} is {value} (queries {names}, ...)", "lower --learning-rate, or use --precision fp32")

    def _is_evaluation(self, step: int) -> bool:
        if not len(self.split.held_out):
            return False
        return step == self.total or step % max(1, self.steps // self.config.evaluations) == 0

    def _validate(self) -> float:
        return validation_loss(self.towers, self.labels, self.split.held_out, self.objective)

    def _evaluate(self, history: History) -> None:
        loss = self._validate()
        self._require_finite(loss, f"the validation loss after step {history.steps}", self.split.held_out)
        history.validation.append((history.steps, loss))
        if loss < history.best_loss:
            history.best_step, history.best_loss = history.steps, loss
            if self.config.keep == "best":
                save_weights(self.towers.trained(), self.folder / "best.safetensors")
        self.reporter.say(f"step {history.steps:,}: validation loss {loss:.4f}" + (" (best)" if history.best_step == history.steps else ""))


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


def _optimiser(towers: Towers, config: TrainConfig) -> torch.optim.AdamW:
    parameters = [p for tower in towers.trained().values() for p in tower.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)
