"""RMS norms in one kernel against the models' own, which are the slow twin: whole models, both precisions, gradients, saved weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from umr.models.norms import FusedNorm, fuse_norms

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])


def loaded(folder: Path) -> Any:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    drawn = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "norm" in name and weight.ndim == 1:  # those of a new model are all alike
            weight.data = torch.rand(weight.shape, generator=drawn) + 0.5
    return model


def states(model: Any) -> Tensor:
    inputs = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    return model(input_ids=IDS, **inputs).last_hidden_state  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [tiny.llama, tiny.gemma3, tiny.mt5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_gives_the_same_states_and_gradients(tmp_path: Path, kind: Callable[[Path], Path], dtype: torch.dtype) -> None:
    own = loaded(kind(tmp_path / "lm"))
    fused = copy.deepcopy(own)
    norms = sum("Norm" in type(module).__name__ for module in own.modules())
    assert fuse_norms(fused) == norms > 4
    assert sum(isinstance(module, FusedNorm) for module in fused.modules()) == norms
    exact = states(own)
    own, fused = own.to(dtype), fused.to(dtype)
    found, expected = states(fused), states(own)
    assert found.dtype == expected.dtype
    rounded = (expected.float() - exact).norm()  # 0 in fp32
    assert (found.float() - exact).norm() <= 1.3 * rounded + 1e-5 * exact.norm()
    if dtype == torch.float32:
        for model, values in ((fused, found), (own, expected)):
            values.square().sum().backward()  # type: ignore[no-untyped-call]
            assert all(p.grad is not None for name, p in model.named_parameters() if "norm" in name)
        for a, b in zip(fused.parameters(), own.parameters(), strict=True):
            assert a.grad is None or (a.grad - b.grad).abs().max() <= 1e-4 * b.grad.abs().max() + 1e-6


def test_weights_keep_their_names(tmp_path: Path) -> None:
    model = loaded(tiny.gemma3(tmp_path / "lm"))
    before = list(model.state_dict())
    assert fuse_norms(model)
    assert list(model.state_dict()) == before


class CentredRMSNorm(nn.Module):
    """Takes the mean out first: no RMS norm, whatever its name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return nn.functional.rms_norm(x, (8,), self.weight, self.eps)


class GatedRMSNorm(CentredRMSNorm):
    """Takes a second tensor."""

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return nn.functional.rms_norm(x, (8,), self.weight, self.eps)


@pytest.mark.parametrize("norm", [CentredRMSNorm, GatedRMSNorm, lambda: nn.LayerNorm(8), lambda: nn.LayerNorm(8, bias=False)])
def test_other_norms_stay(norm: Callable[[], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(8, 8), norm())
    assert fuse_norms(model) == 0
    assert not any(isinstance(module, FusedNorm) for module in model)
