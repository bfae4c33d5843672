"""Cached gradients against one plain backward: tied and untied, with and without dropout, whatever the chunks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from reference import grad_cache as twin
from train.rig import encoder_config
from umr.encoder.encoder import Encoder
from umr.encoder.load import load_encoder
from umr.train.grad_cache import Chunk, cached_backward, encode_all, encode_chunk, graph_bytes
from umr.train.losses import distillation_loss

LENGTHS = ([7, 3, 12, 5], [9, 2, 4, 4, 13, 6, 8])
"""Tokens of four queries and seven passages."""


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Encoder]:
    folder = tmp_path_factory.mktemp("encoders")
    models = (tiny.encoder(folder / str(seed), seed=seed) for seed in (1, 2))
    first, second = (load_encoder(encoder_config(m, similarity="dot")).query for m in models)
    return first, second


def chunks_of(lengths: Sequence[int], size: int, seed: int) -> list[Chunk]:
    """Chunks of at most `size` texts of random tokens, the longest first as the plan has them, right-padded."""
    rng = np.random.default_rng(sum(lengths))
    texts = [torch.from_numpy(rng.integers(5, 100, n)) for n in lengths]
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    chunks = []
    for start in range(0, len(order), size):
        places = order[start : start + size]
        ids = torch.nn.utils.rnn.pad_sequence([texts[i] for i in places], batch_first=True)
        mask = torch.tensor([[int(j < lengths[i]) for j in range(ids.shape[1])] for i in places])
        chunks.append(Chunk(ids, mask, torch.tensor(places), seed + start))
    return chunks


def loss(vectors: list[Tensor]) -> Tensor:
    labels = torch.linspace(-3, 0, 28).reshape(4, 7).masked_fill(torch.arange(28).reshape(4, 7) % 3 == 0, float("-inf"))
    return distillation_loss(vectors[0] @ vectors[1].T, labels, 1.0, "in-batch")


def gradients(pair: Sequence[Encoder], chunks: list[list[Chunk]], cached: bool, room: int = 0) -> tuple[float, Tensor]:
    """The loss, and all gradients as one vector."""
    for encoder in pair:
        encoder.zero_grad(set_to_none=True)
    sizes = [len(lengths) for lengths in LENGTHS]
    value = cached_backward(pair, chunks, sizes, loss, "fp32", room).item() if cached else twin.backward(pair, chunks, sizes, loss)
    weights = {id(p): p for encoder in pair for p in encoder.parameters() if p.grad is not None}
    return value, torch.cat([p.grad.flatten().double() for p in weights.values() if p.grad is not None])


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("dropout", [False, True], ids=["no-dropout", "dropout"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_cached_gradients_are_the_plain_ones(encoders: tuple[Encoder, Encoder], tied: bool, dropout: bool, size: int) -> None:
    pair = [encoders[0], encoders[0 if tied else 1]]
    for encoder in pair:
        encoder.train(dropout)
    chunks = [chunks_of(lengths, size, seed) for lengths, seed in zip(LENGTHS, (10, 1000), strict=True)]
    value, found = gradients(pair, chunks, cached=True)
    expected_value, expected = gradients(pair, chunks, cached=False)
    assert value == pytest.approx(expected_value, rel=1e-6)
    assert relative(found, expected) < 1e-6
    for room in (20, 10_000):  # the graph of some chunks, of all
        value, found = gradients(pair, chunks, cached=True, room=room)
        assert value == pytest.approx(expected_value, rel=1e-6)
        assert relative(found, expected) < 1e-6
    if not dropout:  # then the chunks change nothing either, but the rounding of longer padded sums
        whole = [chunks_of(lengths, 7, 0) for lengths in LENGTHS]
        assert relative(found, gradients(pair, whole, cached=False)[1]) < 1e-5


def test_the_two_passes_see_the_same_dropout_and_other_seeds_another(encoders: tuple[Encoder, Encoder]) -> None:
    encoder = encoders[0].train(True)
    chunk, other = chunks_of([5, 6], 2, 3)[0], chunks_of([5, 6], 2, 4)[0]
    first = encode_chunk(encoder, chunk, "fp32")
    assert torch.equal(first, encode_chunk(encoder, chunk, "fp32"))
    assert not torch.equal(first, encode_chunk(encoder, other, "fp32"))


@pytest.mark.parametrize("room", [0, 20, 10_000])
def test_a_frozen_side_gets_no_gradient(encoders: tuple[Encoder, Encoder], room: int) -> None:
    pair = [t.train(False) for t in encoders]
    queries, passages = (chunks_of(lengths, 4, 0) for lengths in LENGTHS)
    fixed = encode_all(pair[1], passages, 7, "fp32")
    for encoder in pair:
        encoder.zero_grad(set_to_none=True)
    frozen = partial(lambda vectors, held: loss([vectors[0], held]), held=fixed)
    value = cached_backward(pair, [queries, []], [4, 7], frozen, "fp32", room)
    found = {name: p.grad.clone() for name, p in pair[0].named_parameters() if p.grad is not None}
    assert all(p.grad is None for p in pair[1].parameters())
    assert value.item() == pytest.approx(gradients(pair, [queries, passages], cached=False)[0], rel=1e-6)
    for name, parameter in pair[0].named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("room", "encoded"), [(0, 8), (10, 8 - 1), (23, 8 - 2), (10_000, 4)])
def test_only_chunks_without_room_are_encoded_twice(
    encoders: tuple[Encoder, Encoder], monkeypatch: pytest.MonkeyPatch, room: int, encoded: int
) -> None:
    """Four chunks of 24, 10, 52 and 12 padded tokens, in this order; one that fits into what is left is kept."""
    from umr.train import grad_cache

    chunks = [chunks_of(lengths, size, 0) for lengths, size in zip(LENGTHS, (2, 4), strict=True)]
    seen, function = list[int](), grad_cache.encode_chunk
    monkeypatch.setattr(grad_cache, "encode_chunk", lambda e, chunk, p: (seen.append(chunk.ids.numel()), function(e, chunk, p))[1])
    gradients(list(encoders), chunks, cached=True, room=room)
    assert len(seen) == encoded, seen


def test_rows_come_back_in_the_batchs_order(encoders: tuple[Encoder, Encoder]) -> None:
    encoder = encoders[0].train(False)
    together = encode_all(encoder, chunks_of(LENGTHS[1], 3, 0), 7, "fp32")
    alone = encode_all(encoder, chunks_of(LENGTHS[1], 1, 0), 7, "fp32")
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_a_graph_is_measured_without_the_weights(encoders: tuple[Encoder, Encoder]) -> None:
    encoder = encoders[0].train(False)
    weights = sum(parameter.nbytes for parameter in encoder.parameters())
    short, long = graph_bytes(encoder, 8, "fp32"), graph_bytes(encoder, 64, "fp32")
    assert 0 < short < weights
    assert 7 < long / short < 16, "it grows with the tokens, and a little with their square"
    encoder.train(True)
    assert graph_bytes(encoder, 64, "fp32") > long, "dropout keeps its masks"
