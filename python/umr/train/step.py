"""One step of training: the gradients of a batch, and the loss of held-out queries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from umr.config import Precision, TrainConfig
from umr.data.batches import TrainBatch, make_batch
from umr.data.labels import Labels
from umr.train.distillation import distillation_loss
from umr.train.grad_cache import Chunk, cached_backward, encode_all
from umr.train.towers import Rows, Towers, TrainingSide

DROPOUT = 1_000_003  # seeds of two steps, and of the two sides, are this far apart
VALIDATION = 2**40  # the step that held-out candidates are drawn with


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Arguments:
        config: negatives, chunk size, seed.
        temperature: divides the similarities.
        precision: fp32 or bf16 autocast.
    """

    config: TrainConfig
    temperature: float
    precision: Precision


def student_temperature(config: TrainConfig, similarity: str) -> float:
    """The temperature set by the user, or 1 for dot (as in the paper's code) and 0.02 for cosine."""
    return config.student_temperature or (0.02 if similarity == "cosine" else 1.0)


def _sides(towers: Towers, batch: TrainBatch, budget: int, seed: int) -> tuple[list[TrainingSide], list[Rows], list[list[Chunk]]]:
    sides, rows = [towers.query, towers.passage], [batch.queries, batch.passages]
    seeds = (seed, seed + DROPOUT)
    return sides, rows, [side.chunks(r, budget, s) for side, r, s in zip(sides, rows, seeds, strict=True)]


def accumulate(towers: Towers, batch: TrainBatch, objective: Objective, step: int) -> float:
    """Add the gradients of one batch to the trained towers.

    Arguments:
        towers: both sides.
        batch: the queries, passages and labels.
        objective: what is minimised.
        step: decides the dropout.

    Returns:
        the loss, nats a query.
    """
    seed = (objective.config.seed * 2_654_435_761 + 2 * step * DROPOUT) % 2**62
    sides, rows, chunks = _sides(towers, batch, objective.config.chunk_tokens, seed)
    labels = torch.from_numpy(batch.labels).to(towers.query.tower.device)
    loss = partial(_loss, sides=sides, rows=rows, labels=labels, objective=objective)
    sizes = [len(r) for r in rows]
    return cached_backward([s.tower for s in sides], chunks, sizes, loss, objective.precision).item()


def _loss(vectors: list[Tensor], sides: list[TrainingSide], rows: list[Rows], labels: Tensor, objective: Objective) -> Tensor:
    queries, passages = (side.compared(v, r) for side, v, r in zip(sides, vectors, rows, strict=True))  # [B, d], [U, d]
    return distillation_loss(queries @ passages.T, labels, objective.temperature, objective.config.negatives)


@torch.no_grad()
def validation_loss(towers: Towers, labels: Labels, held_out: Rows, objective: Objective) -> float:
    """The same loss on held-out queries without dropout, over batches that never change: nats a query.

    Arguments:
        towers: both sides.
        labels: of all queries.
        held_out: [H] rows of queries, at least one.
        objective: what is minimised.
    """
    towers_in_training = [tower for tower in towers.trained().values() if tower.training]
    for tower in towers_in_training:
        tower.eval()
    size = objective.config.batch_size
    total = 0.0
    for start in range(0, len(held_out), size):
        batch = make_batch(labels, held_out[start : start + size], objective.config, VALIDATION + start)
        total += _batch_loss(towers, batch, objective) * len(batch.queries)
    for tower in towers_in_training:
        tower.train()
    return total / len(held_out)


def _batch_loss(towers: Towers, batch: TrainBatch, objective: Objective) -> float:
    sides, rows, chunks = _sides(towers, batch, objective.config.chunk_tokens, 0)
    vectors = [encode_all(side.tower, parts, len(r), objective.precision) for side, parts, r in zip(sides, chunks, rows, strict=True)]
    return _loss(vectors, sides, rows, torch.from_numpy(batch.labels).to(vectors[0].device), objective).item()
