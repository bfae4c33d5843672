"""What training a round will take, said before the work: time, disk and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from umr.progress.clock import seconds_of
from umr.train.loop import Training

TIMED_AT = (0.0, 0.125, 0.375, 0.625, 0.875)  # which steps are timed, of all of them; the first is for warming up
ADAM = 4  # numbers of a trained weight in memory: itself, its gradient and two moments
KEPT = 5  # and on disk, at most: the state with two moments, the best weights, the trained encoder


@dataclass(frozen=True)
class TrainingForecast:
    """Training one round.

    Arguments:
        queries: trained on.
        held_out: queries of the validation loss.
        steps: in all.
        validations: how often the held-out queries are looked at.
        tokens: of a step, padding included, on average.
        seconds: by some steps and one validation that were made here.
        disk: bytes of the state, the best weights and the encoder.
        memory: bytes of weights, gradients, moments and the graph of a step; on a GPU the peak that was seen.
    """

    queries: int
    held_out: int
    steps: int
    validations: int
    tokens: int
    seconds: float
    disk: int
    memory: int


def forecast(training: Training) -> TrainingForecast:
    """Make some steps and a validation. The weights that they change are not to be used.

    Arguments:
        training: that was not begun.
    """
    timed, steps = [int(share * training.total) for share in TIMED_AT], training.total
    held_out = training.split.held_out
    validations = 1 + training.config.evaluations * training.config.epochs if len(held_out) else 0
    tokens: list[int] = []

    def step(number: int) -> tuple[Callable[[], object], float]:
        inputs = training.inputs(number)
        tokens.append(inputs.query.tokens + inputs.passage.tokens)
        return partial(_step, training, number), float(tokens[-1])

    training.train_mode()
    seconds = seconds_of(map(step, timed)) * sum(tokens) / len(tokens) * steps
    if validations:
        one = partial(training.objective.validation, training.labels, held_out)
        seconds += validations * seconds_of([(one, 1.0)])
    weights = 4 * sum(p.numel() for encoder in training.trained.values() for p in encoder.parameters())
    return TrainingForecast(
        len(training.split.training), len(held_out), steps, validations, sum(tokens) // len(tokens), seconds, KEPT * weights,
        _memory(training, weights, max(tokens)),
    )  # fmt: skip


def _step(training: Training, number: int) -> None:
    training.step(training.inputs(number))
    if training.device.type == "cuda":
        torch.cuda.synchronize(training.device)


def _memory(training: Training, weights: int, tokens: int) -> int:
    if training.device.type == "cuda":
        return torch.cuda.max_memory_allocated(training.device)
    kept = min(tokens, max(training.objective.whole_tokens, training.objective.chunk_tokens))
    return ADAM * weights + int(kept * training.objective.graph_bytes_per_token)
