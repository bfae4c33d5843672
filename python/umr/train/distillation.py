"""The loss of a batch and its gradients: KL from the labels to the encoder's distribution over passages (paper, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from umr.config import Negatives, Precision, TrainConfig
from umr.data.labels import Labels
from umr.train.batches import Rows, TrainBatch, make_batch
from umr.train.encoders import TrainingEncoders
from umr.train.grad_cache import Chunk, cached_backward, encode_all

DROPOUT = 1_000_003  # distance between the dropout seeds of two steps, and of the two sides
VALIDATION = 2**40  # the step number that held-out candidates are drawn with


def distillation_loss(similarities: Tensor, labels: Tensor, temperature: float, negatives: Negatives) -> Tensor:
    """KL(labels || encoder), mean over queries (reference `BiEncoderInBatchKLLoss`, `BiEncoderKLLoss`).

    The labels' distribution is the softmax of a row's finite labels; a passage without a label has no mass (the reference
    gives it log-probability -1000). The encoder's is the softmax of similarity / temperature over all passages of the
    batch (in-batch), or over the labelled ones alone (own).

    Arguments:
        similarities: [B, U] float32 inner products or cosines.
        labels: [B, U] float32 log-probabilities up to a constant a row, -inf where there is none.
        temperature: divides the similarities (1 in the reference).
        negatives: `in-batch` or `own`.

    Returns:
        scalar, nats a query.
    """
    labelled = torch.isfinite(labels)
    logits = similarities / temperature
    if negatives == "own":
        logits = logits.masked_fill(~labelled, float("-inf"))
    student = logits.log_softmax(dim=1)  # [B, U]
    teacher = labels.log_softmax(dim=1)  # [B, U], -inf where unlabelled
    gap = torch.where(labelled, teacher - student, torch.zeros_like(student))  # no inf - inf where there is no mass
    return (teacher.exp() * gap).sum(dim=1).mean()


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Arguments:
        encoders: both sides.
        config: negatives, chunk size, batch size, seed, temperature.
        precision: fp32 or bf16 autocast.
    """

    encoders: TrainingEncoders
    config: TrainConfig
    precision: Precision

    @property
    def temperature(self) -> float:
        """What divides the similarities: the user's value, else 1 for dot (as in the paper's code) and 0.02 for cosine."""
        cosine = self.encoders.query.encoder.settings.similarity == "cosine"
        return self.config.student_temperature or (0.02 if cosine else 1.0)

    def backward(self, batch: TrainBatch, step: int) -> float:
        """Add the gradients of one batch to the trained encoders.

        Arguments:
            batch: the queries, passages and labels.
            step: decides the dropout.

        Returns:
            the loss, nats a query.
        """
        seed = (self.config.seed * 2_654_435_761 + 2 * step * DROPOUT) % 2**62
        encoders = [self.encoders.query.encoder, self.encoders.passage.encoder]
        sizes = [len(batch.queries), len(batch.passages)]
        return cached_backward(encoders, self._chunks(batch, seed), sizes, partial(self._loss, batch), self.precision).item()

    @torch.no_grad()
    def validation_loss(self, labels: Labels, held_out: Rows) -> float:
        """The same loss on held-out queries without dropout, over batches that never change: nats a query.

        Arguments:
            labels: of all queries.
            held_out: [H] rows of queries, at least one.
        """
        in_training = [encoder for encoder in self.encoders.trained().values() if encoder.training]
        for encoder in in_training:
            encoder.eval()
        total = 0.0
        for start in range(0, len(held_out), self.config.batch_size):
            batch = make_batch(labels, held_out[start : start + self.config.batch_size], self.config, VALIDATION + start)
            queries, passages = self._chunks(batch, 0)
            vectors = [
                encode_all(self.encoders.query.encoder, queries, len(batch.queries), self.precision),
                encode_all(self.encoders.passage.encoder, passages, len(batch.passages), self.precision),
            ]
            total += self._loss(batch, vectors).item() * len(batch.queries)
        for encoder in in_training:
            encoder.train()
        return total / len(held_out)

    def _chunks(self, batch: TrainBatch, seed: int) -> list[list[Chunk]]:
        budget = self.config.chunk_tokens
        return [
            self.encoders.query.chunks(batch.queries, budget, seed),
            self.encoders.passage.chunks(batch.passages, budget, seed + DROPOUT),
        ]

    def _loss(self, batch: TrainBatch, vectors: list[Tensor]) -> Tensor:
        queries = self.encoders.query.compared(vectors[0], batch.queries)  # [B, d]
        passages = self.encoders.passage.compared(vectors[1], batch.passages)  # [U, d]
        labels = torch.from_numpy(batch.labels).to(queries.device)
        return distillation_loss(queries @ passages.T, labels, self.temperature, self.config.negatives)
