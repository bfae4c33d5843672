"""GradCache (Gao et al. 2021, arXiv 2101.06983): the gradient of a large batch in the memory of a small one.

Every chunk is encoded, the loss gives the gradient at the vectors, and each chunk carries it to the weights. As many chunks as memory has
room for keep their graph until then; the others are encoded without one, and once more with it. Dropout is drawn from a seed of its
own for each chunk, so that both times see the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from umr.config import Precision
from umr.encoder.dropout import quick_dropout
from umr.encoder.encoder import Encoder
from umr.models.device import autocast
from umr.models.group import ALONE, Group


@dataclass(frozen=True)
class Chunk:
    """Some texts of a batch.

    Arguments:
        ids: [b, L] int64.
        mask: [b, L].
        places: [b] where their vectors go among the batch's; none where they are encoded for the sake of the other processes.
        seed: of the dropout.
    """

    ids: Tensor
    mask: Tensor
    places: Tensor
    seed: int


def encode_chunk(encoder: Encoder, chunk: Chunk, precision: Precision) -> Tensor:
    """Encode a chunk with its own dropout: [b, d] float32."""
    torch.manual_seed(chunk.seed)
    with autocast(precision, encoder.device):
        vectors = encoder(chunk.ids, chunk.mask)
    return vectors[: len(chunk.places)].float()  # type: ignore[no-any-return]


def cached_backward(
    encoders: Sequence[Encoder],
    chunks: Sequence[Sequence[Chunk]],
    sizes: Sequence[int],
    loss: Callable[[list[Tensor]], Tensor],
    precision: Precision,
    room: int = 0,
    group: Group = ALONE,
) -> Tensor:
    """Add the gradients of the loss to the encoders' weights: of the chunks that this process encodes.

    Arguments:
        encoders: one for each list of chunks; may be the same one twice.
        chunks: the texts of each encoder; an empty list leaves it out.
        sizes: vectors of each encoder in the batch.
        loss: from the encoders' vectors, [size, d] each, to a scalar.
        precision: fp32 or bf16 autocast.
        room: padded tokens whose graph is kept.
        group: processes that encode the batch together. The loss is that of the whole batch on each of them, and the gradients add up to
            its gradient, whatever their number.

    Returns:
        the loss, detached.
    """
    with quick_dropout(encoders[0].device):
        cached, pieces = list[Tensor](), list[tuple[Encoder, Chunk, Tensor | None, Tensor]]()
        for encoder, parts, size in zip(encoders, chunks, sizes, strict=True):
            vectors = torch.zeros(size, encoder.dimensions, device=encoder.device)
            cached.append(vectors)
            for chunk in _own(parts, group):
                keep = chunk.ids.numel() <= room
                room -= keep * chunk.ids.numel()
                with torch.set_grad_enabled(keep):
                    found = encode_chunk(encoder, chunk, precision)
                vectors[chunk.places] = found.detach()
                pieces.append((encoder, chunk, found if keep else None, vectors))
            if parts:
                group.sum(vectors).requires_grad_()
        value = loss(cached)
        value.backward()  # type: ignore[no-untyped-call]
        for encoder, chunk, graph, vectors in sorted(pieces, key=lambda piece: piece[2] is None):  # kept graphs make room first
            if vectors.grad is not None:
                found = encode_chunk(encoder, chunk, precision) if graph is None else graph
                found.backward(vectors.grad[chunk.places])  # type: ignore[no-untyped-call]
        return value.detach()


@torch.no_grad()
def encode_all(encoder: Encoder, chunks: Sequence[Chunk], size: int, precision: Precision, group: Group = ALONE) -> Tensor:
    """Encode chunks without a graph, on all processes of a group: [size, d] float32, in the batch's order."""
    vectors = _encode(encoder, _own(chunks, group), size, precision)
    return group.sum(vectors) if chunks else vectors


def _own(chunks: Sequence[Chunk], group: Group) -> list[Chunk]:
    """The chunks of this process; where weights are sharded, as many as every other one has: all put a layer together at once."""
    mine, fewer = group.share([chunk.ids.numel() for chunk in chunks])
    own = [chunks[n] for n in mine]
    if group.sharded and fewer:
        some = min(chunks, key=lambda chunk: chunk.ids.numel())
        own += [Chunk(some.ids[:1], some.mask[:1], some.places[:0], some.seed)] * fewer
    return own


def _encode(encoder: Encoder, chunks: Sequence[Chunk], size: int, precision: Precision) -> Tensor:
    vectors = torch.zeros(size, encoder.dimensions, device=encoder.device)
    if not chunks:
        return vectors
    places = torch.cat([chunk.places for chunk in chunks])
    return vectors.index_copy(0, places, torch.cat([encode_chunk(encoder, chunk, precision) for chunk in chunks]))


def graph_bytes(encoder: Encoder, width: int, precision: Precision) -> int:
    """Bytes that a graph keeps of one text of `width` tokens, measured with a text of padding."""
    kept: dict[int, int] = {}  # address of a storage -> its bytes

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.full((1, width), encoder.pad, device=encoder.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), quick_dropout(encoder.device):
        encode_chunk(encoder, Chunk(ids, torch.ones_like(ids), ids[:, 0], 0), precision)
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    return sum(size for address, size in kept.items() if address not in weights)
