"""RMS norms of a model in one kernel each: as models write them out, a GPU runs seven, and spends most of its time there."""

from __future__ import annotations

from inspect import signature

import torch
from torch import Tensor, nn

PROBE_ROWS = 4
AGREE = 1e-5  # difference from the model's own norm, of the largest value


class FusedNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) times the weight plus an offset (1 in Gemma's), computed in fp32.

    Arguments:
        weight: [d], the model's own parameter under its own name.
        eps: what keeps the root from 0.
        offset: added to the weight.
        widens: whether a weight in fp32 makes the result fp32, whatever x is.
    """

    def __init__(self, weight: nn.Parameter, eps: float, offset: float, widens: bool) -> None:
        super().__init__()
        self.weight, self.eps, self.offset, self.widens = weight, eps, offset, widens

    def forward(self, x: Tensor) -> Tensor:
        """Norm the last dimension of x [..., d]."""
        scale = self.weight.float() + self.offset
        normed = nn.functional.rms_norm(x.float(), scale.shape, scale, self.eps)  # torch's kernel takes one type
        return normed if self.widens and self.weight.dtype == torch.float32 else normed.to(x.dtype)


def fuse_norms(model: nn.Module) -> int:
    """Put our norm in the place of every RMS norm of a model that gives the same values on a few numbers; others stay.

    Arguments:
        model: in fp32 or bf16, on the processor; changed in place. The names of its weights stay.

    Returns:
        how many were replaced.
    """
    found = [
        (module, name, fused)
        for module in model.modules()
        for name, norm in module.named_children()
        if type(norm).__name__.endswith(("RMSNorm", "LayerNorm")) and (fused := _fused(norm)) is not None
    ]
    for module, name, fused in found:
        setattr(module, name, fused)
    return len(found)


@torch.no_grad()
def _fused(norm: nn.Module) -> FusedNorm | None:
    """Our norm with the offset that gives this one's values, or None."""
    weights, eps = dict(norm.named_parameters()), getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    alone = len(signature(norm.forward).parameters) == 1  # others are gated
    if isinstance(norm, nn.RMSNorm) or not alone or set(weights) != {"weight"} or weights["weight"].ndim != 1 or not isinstance(eps, float):
        return None
    weight = weights["weight"]
    x = torch.randn(PROBE_ROWS, len(weight), generator=torch.Generator().manual_seed(0))  # a mean that is not 0 tells other norms apart
    x = (x + 0.5).to(weight.dtype)
    wanted = norm(x).float()
    room = (AGREE if weight.dtype == torch.float32 else 2.0**-7) * wanted.abs().max()
    for offset in (0.0, 1.0):
        if bool((FusedNorm(weight, eps, offset, False)(x).float() - wanted).abs().max() <= room):
            return FusedNorm(weight, eps, offset, norm(x.bfloat16()).dtype == torch.float32).train(norm.training)
    return None
