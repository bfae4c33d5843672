"""The loss of a batch on the device, and its gradients (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from umr.config import Precision, TrainConfig
from umr.data.labels import Labels
from umr.models.feeding import prefetch, send
from umr.models.group import ALONE, Group
from umr.sizes import total_memory
from umr.train.batches import Rows, TrainBatch, make_batch
from umr.train.encoders import SideInputs, TrainingEncoders
from umr.train.grad_cache import cached_backward, encode_all, graph_bytes
from umr.train.losses import agreement, false_negatives, training_loss

DROPOUT = 1_000_003  # distance between the dropout seeds of two steps, and of the two sides
WHOLE_SHARE = 0.25  # of a device's memory, for the graph of a batch
CHUNK_TOKENS = {"cpu": 2048, "cuda": 16384}  # larger chunks mix lengths, and a processor computes the padding too
LEAST_TOKENS = 2048  # of a chunk, however small a GPU is
WIDTH = 256  # tokens of the text by which a graph is measured, at most
SHARP = 0.99  # a probability of one passage from which on a softmax has next to no gradient
TEMPERATURES = (0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)  # of cosines
VALIDATION = 2**40  # the step number that held-out candidates are drawn with


@dataclass(frozen=True)
class BatchInputs:
    """The batch of a step on the device: its two sides, and labels [B, U]."""

    step: int
    batch: TrainBatch
    query: SideInputs
    passage: SideInputs
    labels: Tensor


class Validation(NamedTuple):
    """What held-out queries say, each a mean over them.

    Arguments:
        loss: nats a query.
        first: share of them whose first passage is that of the labels.
        near: unlabelled passages of the batch that are as near as the best-labelled one: likely false negatives.
        sharp: share of them to which the encoder gives one passage of the batch more than `SHARP`.
    """

    loss: float
    first: float
    near: float
    sharp: float


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Arguments:
        encoders: both sides.
        config: negatives, chunk size, batch size, seed, temperature.
        precision: fp32 or bf16 autocast.
        group: processes that compute each batch together.
    """

    encoders: TrainingEncoders
    config: TrainConfig
    precision: Precision
    group: Group = ALONE

    @property
    def temperature(self) -> float:
        """What divides the similarities: the user's value, else 1 for dot (as in the paper's code); 0.02 for cosine until it is chosen."""
        return self.config.student_temperature or (0.02 if self.cosine else 1.0)

    @property
    def cosine(self) -> bool:
        """Whether similarities are cosines."""
        return self.encoders.query.encoder.settings.similarity == "cosine"

    @property
    def chunk_tokens(self) -> int:
        """Padded tokens of a chunk: the user's, else what a device is fast with and has memory for."""
        device = self.encoders.query.encoder.device.type
        if self.config.chunk_tokens or device == "cpu" or self.group.sharded:  # a measure would be one more call of all
            return self.config.chunk_tokens or (LEAST_TOKENS if self.group.sharded else CHUNK_TOKENS[device])
        return max(LEAST_TOKENS, min(CHUNK_TOKENS[device], self.whole_tokens))

    @cached_property
    def whole_tokens(self) -> int:
        """Tokens of a batch whose graph is in memory until the loss is known: a share of what the device has in all, so that a resumed
        training does as before.
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
        query = self.encoders.query.inputs(batch.queries, self.chunk_tokens, seed)
        passage = self.encoders.passage.inputs(batch.passages, self.chunk_tokens, seed + DROPOUT)
        return BatchInputs(step, batch, query, passage, send(batch.labels, self.encoders.query.encoder.device))

    def backward(self, inputs: BatchInputs) -> Tensor:
        """Add the gradients of one batch to the trained encoders.

        Returns:
            the loss, a scalar on the device: nats a query.
        """
        encoders = [self.encoders.query.encoder, self.encoders.passage.encoder]
        sides, group = (inputs.query, inputs.passage), self.group
        room = 0 if group.sharded else int(self.whole_tokens * group.memories / group.size)
        chunks, sizes = [side.chunks for side in sides], [side.size for side in sides]
        return cached_backward(encoders, chunks, sizes, partial(self._loss, inputs), self.precision, room, group)

    def validation(self, labels: Labels, held_out: Rows) -> Validation:
        """The same loss on held-out queries without dropout, over batches that never change. Nothing is masked: with an encoder
        that finds everything near, less would count.

        Arguments:
            labels: of all queries.
            held_out: [H] rows of queries, at least one.
        """
        return Validation(*(self._over(labels, held_out, self._validation) / len(held_out)).tolist())

    def calibrated(self, labels: Labels, rows: Rows) -> float:
        """Of `TEMPERATURES` that with the least loss of the encoders as they are: what is left to learn then is the order of passages, and
        not how far apart similarities lie.

        Arguments:
            labels: of all queries.
            rows: of queries, at least one.
        """
        return TEMPERATURES[int(self._over(labels, rows, self._at_temperatures).argmin())]

    @torch.no_grad()
    def _over(self, labels: Labels, rows: Rows, measure: Callable[[BatchInputs, Tensor], Tensor]) -> Tensor:
        """The sum of a measure of similarities [B, U] over batches of queries that never change, without dropout."""
        in_training = [encoder for encoder in self.encoders.trained().values() if encoder.training]
        for encoder in in_training:
            encoder.eval()
        device, starts = self.encoders.query.encoder.device, range(0, len(rows), self.config.batch_size)

        def inputs(start: int) -> BatchInputs:
            some, step = rows[start : start + self.config.batch_size], VALIDATION + start
            return self.inputs(make_batch(labels, some, self.config, step), step)

        found = [measure(batch, self._similarities(batch, self._vectors(batch))) for batch in prefetch(map(inputs, starts), device)]
        for encoder in in_training:
            encoder.train()
        return torch.stack(found).sum(dim=0)

    def _vectors(self, inputs: BatchInputs) -> list[Tensor]:
        return [
            encode_all(own.encoder, side.chunks, side.size, self.precision, self.group)
            for own, side in ((self.encoders.query, inputs.query), (self.encoders.passage, inputs.passage))
        ]

    def _validation(self, inputs: BatchInputs, similarities: Tensor) -> Tensor:
        loss = self._unmasked(inputs, similarities, self.temperature)
        alike, near = agreement(similarities, inputs.labels), false_negatives(similarities, inputs.labels).sum()
        sharp = ((similarities / self.temperature).softmax(dim=1).amax(dim=1) > SHARP).sum()
        return torch.stack([value.double() for value in (loss, alike, near, sharp)])

    def _at_temperatures(self, inputs: BatchInputs, similarities: Tensor) -> Tensor:
        return torch.stack([self._unmasked(inputs, similarities, temperature).double() for temperature in TEMPERATURES])

    def _unmasked(self, inputs: BatchInputs, similarities: Tensor, temperature: float) -> Tensor:
        config = replace(self.config, false_negatives="keep")
        return training_loss(similarities, inputs.labels, temperature, config) * inputs.query.size

    def _loss(self, inputs: BatchInputs, vectors: list[Tensor]) -> Tensor:
        return training_loss(self._similarities(inputs, vectors), inputs.labels, self.temperature, self.config)

    def _similarities(self, inputs: BatchInputs, vectors: list[Tensor]) -> Tensor:
        queries = self.encoders.query.compared(vectors[0], inputs.query)  # [B, d]
        passages = self.encoders.passage.compared(vectors[1], inputs.passage)  # [U, d]
        return queries @ passages.T
