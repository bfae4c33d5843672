"""The gradient of a batch without a cache: every text once with a graph, one backward. Slow twin of `umr.train.grad_cache`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from umr.encoder.dropout import quick_dropout
from umr.encoder.encoder import Encoder
from umr.train.grad_cache import Chunk


def backward(
    encoders: Sequence[Encoder], chunks: Sequence[Sequence[Chunk]], sizes: Sequence[int], loss: Callable[[list[Tensor]], Tensor]
) -> float:
    """Add the gradients of the loss to the encoders' weights, and return the loss."""
    vectors = []
    for encoder, parts, size in zip(encoders, chunks, sizes, strict=True):
        rows: list[Tensor | None] = [None] * size
        for chunk in parts:
            torch.manual_seed(chunk.seed)
            with quick_dropout(encoder.device):
                found = encoder(chunk.ids, chunk.mask)
            for place, vector in zip(chunk.places.tolist(), found, strict=True):
                rows[place] = vector
        vectors.append(torch.stack([r for r in rows if r is not None]) if parts else torch.zeros(size, encoder.dimensions))
    value = loss(vectors)
    value.backward()
    return float(value.detach())
