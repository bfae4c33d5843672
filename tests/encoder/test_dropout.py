"""Dropout on the processor against its twin and against torch's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

import tiny
from reference import dropout as twin
from train.rig import encoder_config
from umr import TrainConfig
from umr.encoder.dropout import draw, quick_attention, quick_drop, quick_dropout
from umr.encoder.load import load_encoder
from umr.train.weights import set_up

CPU = torch.device("cpu")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@given(st.lists(st.integers(1, 5), max_size=3), st.floats(0.001, 0.999), st.integers(0, 2**40))
def test_elements_go_as_the_twin_says(shape: list[int], p: float, seed: int) -> None:
    x, upstream = numbers(*shape), numbers(*shape, seed=1).detach()
    found = []
    for function in (quick_drop, twin.dropout):
        x.grad = None
        torch.manual_seed(seed)
        value = function(x, p)
        (value * upstream).sum().backward()
        assert x.grad is not None
        found.append((value.detach(), x.grad.clone()))
    for ours, slow in zip(*found, strict=True):
        torch.testing.assert_close(ours, slow)


@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.001, 0.9), st.integers(0, 2**40))
def test_attention_is_the_twins(length: int, width: int, p: float, seed: int) -> None:
    parts = [numbers(1, 1, length, width, seed=n) for n in range(3)]
    seen = (numbers(length, length, seed=seed % 1000) > 0).logical_or(torch.eye(length, dtype=torch.bool))
    torch.manual_seed(seed)
    found = quick_attention(*parts, seen, p)
    torch.manual_seed(seed)
    expected = twin.attention(*(part[0, 0] for part in parts), seen, p)
    torch.testing.assert_close(found[0, 0], expected, rtol=1e-4, atol=1e-6)


def test_a_mask_that_is_added_is_the_bool_one() -> None:
    parts = [numbers(2, 3, 5, 4, seed=n) for n in range(3)]
    seen = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    seen[1, :, :, 3:] = False
    added = torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))
    made = []
    for mask in (seen, added):
        torch.manual_seed(7)
        made.append(quick_attention(*parts, mask, 0.3, scale=0.5))
    torch.testing.assert_close(*made)


def test_in_the_mean_it_is_torchs_attention_without_dropout() -> None:
    parts = [numbers(1, 2, 4, 3, seed=n) for n in range(3)]
    torch.manual_seed(0)
    mean = torch.stack([quick_attention(*parts, None, 0.25) for _ in range(20_000)]).mean(0)
    torch.testing.assert_close(mean, scaled_dot_product_attention(*parts), rtol=0, atol=0.02)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_stays_and_the_mean(p: float) -> None:
    torch.manual_seed(0)
    stay, factor = draw(torch.empty(1000, 1001), p)
    assert stay.float().mean() == pytest.approx(1 - p, abs=0.002)
    assert factor == pytest.approx(1 / (1 - p), rel=1e-4)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (1e-7, True), (0.3, False), (1.0, True)])
def test_what_drops_nothing_or_all_is_torchs(p: float, training: bool) -> None:
    x = numbers(3, 4)
    torch.testing.assert_close(quick_drop(x, p, training), dropout(x, p, training) if p != 1e-7 else x)


@pytest.mark.parametrize("others", [{"is_causal": True}, {"enable_gqa": True}])
def test_attention_of_another_kind_is_torchs(others: dict[str, bool]) -> None:
    parts = [numbers(1, 2, 4, 3, seed=n) for n in range(3)]
    made = []
    for function in (quick_attention, scaled_dot_product_attention):
        torch.manual_seed(3)
        made.append(function(*parts, None, 0.4, scale=0.7, **others))
    torch.testing.assert_close(*made)


def test_modules_draw_so_while_it_is_open_and_only_then() -> None:
    layer, x, found = nn.Dropout(0.5), torch.ones(64), list[Tensor]()
    for context in (quick_dropout(CPU), quick_dropout(torch.device("meta"))):
        torch.manual_seed(1)
        with context:
            found.append(layer(x))
    torch.manual_seed(1)
    assert torch.equal(found[0], quick_drop(x, 0.5))
    torch.manual_seed(1)
    assert torch.equal(found[1], layer(x))
    assert not torch.equal(found[0], found[1])


def test_layers_that_are_computed_again_see_the_same_dropout(tmp_path: Path) -> None:
    encoder = load_encoder(encoder_config(tiny.encoder(tmp_path / "model", seed=1))).query.train(True)
    ids, found = torch.arange(5, 17).reshape(2, 6), list[Tensor]()
    for again in (False, True):
        if again:
            set_up(encoder, TrainConfig(gradient_checkpointing=True))
        encoder.zero_grad()
        torch.manual_seed(5)
        with quick_dropout(CPU):
            encoder(ids, torch.ones_like(ids)).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    assert found[0].abs().max() > 0
    torch.testing.assert_close(*found)
