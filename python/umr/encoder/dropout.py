"""Dropout of a training on the processor. Torch draws number after number there, and computes attention with dropout in fp32, whatever its
inputs are: together a fifth of a training step of e5-small.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

STEPS = 1 << 16  # of a probability: 16 random bits decide about an element


def quick_dropout(device: torch.device) -> AbstractContextManager[object]:
    """While it is open, dropout is drawn as here; on other devices nothing changes. What a backward pass computes again has to open it too.

    Arguments:
        device: of the models.
    """
    return _QuickDropout() if device.type == "cpu" else nullcontext()


class _QuickDropout(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        ours: Callable[..., Any] = QUICK.get(func, func)
        return ours(*args, **(kwargs or {}))


def draw(like: Tensor, p: float) -> tuple[Tensor, float]:
    """Which elements stay, and what they are multiplied by so that the mean stays.

    Arguments:
        like: any shape.
        p: probability that an element goes, rounded to a 65,536th.

    Returns:
        a bool tensor of its shape, from torch's generator; the factor.
    """
    cut, elements = round(p * STEPS), like.numel()
    bits = torch.empty(-(-elements // 4), dtype=torch.int64).random_(-(2**63), None)
    stay = bits.view(torch.int16)[:elements].view(like.shape) >= cut - STEPS // 2
    return stay, STEPS / (STEPS - cut)


def quick_drop(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Torch's dropout of x, any shape and type; the same arguments."""
    if not training or not 0 < round(p * STEPS) < STEPS or inplace:
        return dropout(x, p, training, inplace)
    stay, factor = draw(x, p)
    return x * stay * factor


def quick_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **others: Any
) -> Tensor:
    """Torch's scaled_dot_product_attention: [b, heads, L, d] of each.

    Arguments:
        query, key, value: [b, heads, L, d].
        attn_mask: broadcast to [b, heads, L, L]: bool, true where a token is seen, or added to the products.
        dropout_p: of the weights.
        others: `scale` of the products; what else is set is left to torch.

    Returns:
        [b, heads, L, d] in the type of the values.
    """
    scale = others.pop("scale", None) or query.shape[-1] ** -0.5
    if not 0 < round(dropout_p * STEPS) < STEPS or any(others.values()):
        return scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, scale=scale, **others)
    products = (query * scale) @ key.transpose(-1, -2)
    if attn_mask is not None:
        lowest = torch.finfo(products.dtype).min
        products = products + attn_mask if attn_mask.dtype != torch.bool else products.masked_fill(~attn_mask, lowest)
    weights = torch.softmax(products, -1, dtype=torch.float32)
    stay, factor = draw(weights, dropout_p)
    return (weights * stay).to(value.dtype) @ (value * factor)


QUICK: dict[Callable[..., Any], Callable[..., Tensor]] = {dropout: quick_drop, scaled_dot_product_attention: quick_attention}
