"""The loss of a batch and its gradients: KL from the labels to the encoder's distribution over passages (paper, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from umr.config import Negatives, Precision, TrainConfig
from umr.data.labels import Labels
from umr.models.feeding import prefetch, send
from umr.sizes import total_memory
from umr.train.batches import Rows, TrainBatch, make_batch
from umr.train.encoders import SideInputs, TrainingEncoders
from umr.train.grad_cache import cached_backward, encode_all, graph_bytes

DROPOUT = 1_000_003  # distance between the dropout seeds of two steps, and of the two sides
WHOLE_SHARE = 0.25  # of a device's memory, for the graph of a batch
WIDTH = 256  # tokens of the text by which a graph is measured, at most
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
class BatchInputs:
    """The batch of a step on the device: its two sides, and labels [B, U]."""

    step: int
    batch: TrainBatch
    query: SideInputs
    passage: SideInputs
    labels: Tensor


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

    @cached_property
    def whole_tokens(self) -> int:
        """Tokens of a batch that is encoded once, with the graph of all of it in memory: a share of what the device has in all,
        so that a resumed training does as before.
        """
        room = WHOLE_SHARE * total_memory(str(self.encoders.query.encoder.device))
        return int(room / self.graph_bytes_per_token)

    @cached_property
    def graph_bytes_per_token(self) -> float:
        """Bytes that the graph keeps of a token, measured."""
        widths = {e: min(WIDTH, max(e.settings.query_length, e.settings.passage_length)) for e in self.encoders.trained().values()}
        return max(graph_bytes(encoder, width, self.precision) / width for encoder, width in widths.items())

    def inputs(self, batch: TrainBatch, step: int) -> BatchInputs:
        """A batch on the device.

        Arguments:
            batch: the queries, passages and labels.
            step: decides the dropout.
        """
        seed = (self.config.seed * 2_654_435_761 + 2 * step * DROPOUT) % 2**62
        query = self.encoders.query.inputs(batch.queries, self.config.chunk_tokens, seed)
        passage = self.encoders.passage.inputs(batch.passages, self.config.chunk_tokens, seed + DROPOUT)
        return BatchInputs(step, batch, query, passage, send(batch.labels, self.encoders.query.encoder.device))

    def backward(self, inputs: BatchInputs) -> Tensor:
        """Add the gradients of one batch to the trained encoders.

        Returns:
            the loss, a scalar on the device: nats a query.
        """
        encoders = [self.encoders.query.encoder, self.encoders.passage.encoder]
        sides = (inputs.query, inputs.passage)
        whole = sum(side.tokens for side in sides) <= self.whole_tokens
        chunks, sizes = [side.chunks for side in sides], [side.size for side in sides]
        return cached_backward(encoders, chunks, sizes, partial(self._loss, inputs), self.precision, whole)

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
        device, starts = self.encoders.query.encoder.device, range(0, len(held_out), self.config.batch_size)

        def inputs(start: int) -> BatchInputs:
            rows, step = held_out[start : start + self.config.batch_size], VALIDATION + start
            return self.inputs(make_batch(labels, rows, self.config, step), step)

        losses = [self._validation(batch) for batch in prefetch(map(inputs, starts), device)]
        for encoder in in_training:
            encoder.train()
        return float(torch.stack(losses).sum()) / len(held_out)

    def _validation(self, inputs: BatchInputs) -> Tensor:
        vectors = [
            encode_all(own.encoder, side.chunks, side.size, self.precision)
            for own, side in ((self.encoders.query, inputs.query), (self.encoders.passage, inputs.passage))
        ]
        return self._loss(inputs, vectors).double() * inputs.query.size

    def _loss(self, inputs: BatchInputs, vectors: list[Tensor]) -> Tensor:
        queries = self.encoders.query.compared(vectors[0], inputs.query)  # [B, d]
        passages = self.encoders.passage.compared(vectors[1], inputs.passage)  # [U, d]
        return distillation_loss(queries @ passages.T, inputs.labels, self.temperature, self.config.negatives)
