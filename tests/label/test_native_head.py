"""The vocabulary head of the compiled core: the same log-probabilities as torch, taken only where it is the faster one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from umr.label.head import ChunkedHead, Projection
from umr.label.native import head as native
from umr.label.native.head import NativeHead, take_head


def projection(dtype: torch.dtype = torch.float32, scale: float = 1.0, cap: float | None = None, bias: bool = False) -> Projection:
    torch.manual_seed(3)
    weight = torch.randn(211, 24).to(dtype)
    return Projection(weight, torch.randn(211) if bias else None, scale, cap)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.25, None), (1.0, 3.0)])
def test_log_probabilities_are_those_of_torch(dtype: torch.dtype, scale: float, cap: float | None) -> None:
    some = projection(dtype, scale, cap)
    hidden = torch.randn(9, 24).to(dtype)
    rows, targets = torch.tensor([0, 0, 3, 8, 5]), torch.tensor([7, 210, 0, 33, 33])
    logits = hidden.double() * scale @ some.weight.double().T
    logits = cap * torch.tanh(logits / cap) if cap else logits
    expected = torch.log_softmax(logits, dim=1)[rows, targets]
    found = NativeHead(some).logp(hidden, rows, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.05)


def taken(some: Projection, isa: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(native, "instructions", lambda kind: isa)
    return take_head(SimpleNamespace(head=ChunkedHead(some))).head


@pytest.mark.parametrize(
    ("dtype", "isa", "core"),
    [
        (torch.float32, "avx512", True),
        (torch.float32, "avx2", True),
        (torch.float32, "portable", False),
        (torch.bfloat16, "avx512", True),
        (torch.bfloat16, "avx2", False),
        (torch.float16, "avx512", False),
    ],
)
def test_the_core_takes_a_head_where_it_is_faster(dtype: torch.dtype, isa: str, core: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    head = taken(projection(dtype), isa, monkeypatch)
    assert isinstance(head, NativeHead if core else ChunkedHead)


def test_a_head_with_a_bias_and_a_scorer_without_one_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(taken(projection(bias=True), "avx512", monkeypatch), ChunkedHead)
    scorer = SimpleNamespace()
    assert take_head(scorer) is scorer
