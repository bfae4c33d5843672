"""The head by chunks of the vocabulary against the logits of the whole vocabulary in float64, and what models do to their logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umr.label.scorers.head import OwnLogits, reduce

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 30))  # states, vocabulary, targets


def drawn(shape: tuple[int, int, int], seed: int, spread: float = 1.0) -> tuple[Any, ...]:
    import torch

    m, vocabulary, t = shape
    made = torch.Generator().manual_seed(seed)
    hidden, weight = torch.randn(m, 8, generator=made) * spread, torch.randn(vocabulary, 8, generator=made)
    return hidden, weight, torch.randint(m, (t,), generator=made), torch.randint(vocabulary, (t,), generator=made)


@given(SHAPES, st.integers(0, 99), st.booleans(), st.sampled_from([1.0, 0.25]), st.sampled_from([None, 3.0]), st.sampled_from([0.1, 1, 90]))
def test_chunks_equal_the_whole_vocabulary(
    shape: tuple[int, int, int], seed: int, biased: bool, scale: float, cap: float | None, spread: float
) -> None:
    import torch

    from umr.label.scorers import head

    hidden, weight, rows, targets = drawn(shape, seed, spread)
    bias = torch.randn(len(weight)) if biased else None
    logits = scale * hidden.double() @ weight.double().T + (bias.double() if bias is not None else 0)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    expected = logits.log_softmax(1)[rows, targets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "CHUNK_ROWS", 3)
        patch.setattr(head, "STATES", 4)
        found = head.ChunkedHead(head.Projection(weight, bias, scale, cap), memory=1).logp(hidden, rows, targets)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-5 * max(1, logits.abs().max())


@given(SHAPES, st.integers(0, 99), st.sampled_from([1e-3, 1.0, 90.0]))
def test_states_in_two_bf16_parts_keep_sixteen_bits(shape: tuple[int, int, int], seed: int, spread: float) -> None:
    from umr.label.scorers.head import two_parts
    from umr.models.device import product_in_float32

    hidden, weight, *_ = drawn(shape, seed, spread)
    half = weight.bfloat16()
    found, expected = product_in_float32(two_parts(hidden), half.repeat(1, 2)), hidden.double() @ half.double().T
    room = hidden.double().abs() @ half.double().abs().T  # what the products add up to without their signs
    assert found.dtype == hidden.dtype
    assert bool(((found - expected).abs() <= 2.0**-16 * room + 1e-30).all())


@given(SHAPES, st.integers(0, 99), st.booleans(), st.sampled_from([None, 3.0]), st.sampled_from([1, 1 << 20]), st.sampled_from([0.1, 90]))
def test_whole_rows_of_a_gpu_give_what_chunks_give(
    shape: tuple[int, int, int], seed: int, biased: bool, cap: float | None, memory: int, spread: float
) -> None:
    import torch

    from umr.label.scorers.head import ChunkedHead, Projection

    hidden, weight, rows, targets = drawn(shape, seed, spread)
    projection = Projection(weight.bfloat16().float(), torch.randn(len(weight)) if biased else None, 0.5, cap)
    plain, whole = ChunkedHead(projection), ChunkedHead(projection, memory=memory)
    whole.twice = weight.bfloat16().repeat(1, 2)  # as it is made on a GPU
    expected, found = plain.logp(hidden, rows, targets), whole.logp(hidden, rows, targets)
    largest = (hidden.abs() @ weight.abs().T).max()
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 2.0**-14 * max(1, largest)


def test_logits_of_the_model_itself_are_taken_as_they_are() -> None:
    import torch

    hidden, weight, rows, targets = drawn((5, 30, 12), 1)
    logits = hidden @ weight.T
    expected = logits.double().log_softmax(1)[rows, targets]
    assert (OwnLogits().logp(logits, rows, targets) - expected).abs().max() <= 1e-5
    half = OwnLogits().logp(logits.bfloat16(), rows, targets)
    assert half.dtype == torch.float32


def model_with(weight: Any, bias: Any = None, **config: Any) -> Any:
    import torch

    settings = SimpleNamespace(**config)
    settings.get_text_config = lambda: settings
    layer = SimpleNamespace(weight=torch.nn.Parameter(weight), bias=bias)
    return SimpleNamespace(get_output_embeddings=lambda: layer, config=settings)


FORMS = [
    ({}, lambda x: x), ({"logit_scale": 0.0625}, lambda x: 0.0625 * x), ({"logits_scaling": 8.0}, lambda x: x / 8),
    ({"final_logit_softcapping": 5.0}, lambda x: 5 * (x / 5).tanh()), ({}, lambda x: x * 8**-0.5),
    ({"final_logit_softcapping": 5.0, "logits_scaling": 2.0}, lambda x: 5 * (x / 10).tanh()),
]  # fmt: skip


@pytest.mark.parametrize(("config", "form"), FORMS)
def test_what_a_model_does_to_its_logits_is_found_out(config: dict[str, Any], form: Any) -> None:
    from umr.label.scorers.head import ChunkedHead, find_projection

    hidden, weight, rows, targets = drawn((5, 30, 12), 2)
    logits = form(hidden @ weight.T)
    projection = find_projection(model_with(weight, **config), hidden, logits, "fp32")
    assert projection is not None
    expected = logits.double().log_softmax(1)[rows, targets]
    assert (ChunkedHead(projection).logp(hidden, rows, targets) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("form", [lambda x: x * 3, lambda x: x.relu(), lambda x: x[:, :-1], lambda x: x * float("nan")])
def test_a_head_that_does_something_else_is_left_to_the_model(form: Any) -> None:
    from umr.label.scorers.head import find_projection

    hidden, weight, _, _ = drawn((5, 30, 12), 3)
    assert find_projection(model_with(weight), hidden, form(hidden @ weight.T), "fp32") is None


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 99))
def test_mean_and_sum_of_each_pair(lengths: list[int], seed: int) -> None:
    import torch

    logp = -torch.rand(sum(lengths), generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor(lengths)
    parts = np.split(logp.double().numpy(), np.cumsum(lengths)[:-1])
    np.testing.assert_allclose(reduce(logp, counts, "sum"), [p.sum() for p in parts], rtol=1e-6)
    np.testing.assert_allclose(reduce(logp, counts, "mean"), [p.mean() for p in parts], rtol=1e-6)
