"""Token vectors become one vector."""

from __future__ import annotations

import torch
from torch import Tensor

from umr.config import Pooling


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool token vectors.

    Arguments:
        hidden: [b, L, d] token vectors, right-padded.
        mask: [b, L] 1 for a token, 0 for padding.
        pooling: `mean` over tokens, `cls` (the first) or `last` (the last token that is not padding).

    Returns:
        [b, d], same dtype.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # [b, L, 1]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
