"""From logits to the likelihood of a target: log-sum-exp in float32, a few rows at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import Reduction

ROWS = 64  # logit rows in float32 at once


def token_logp(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities of target tokens.

    Arguments:
        logits: [m, V] of any floating dtype.
        targets: [m] token ids.

    Returns:
        [m] float32 nats.
    """
    parts = []
    for some, ids in zip(torch.split(logits, ROWS), torch.split(targets, ROWS), strict=True):
        wide = some.float()
        parts.append(wide.gather(1, ids[:, None])[:, 0] - wide.logsumexp(1))
    return torch.cat(parts)


def reduce(logp: Tensor, owner: NDArray[np.int64], pairs: int, reduction: Reduction) -> NDArray[np.float32]:
    """Mean (UMR) or sum (UPR) of the log-probabilities of each pair.

    Arguments:
        logp: [m] float32 nats.
        owner: [m] index of the pair that a token belongs to.
        pairs: number of pairs.
        reduction: mean or sum.

    Returns:
        [pairs] float32.
    """
    sums = np.bincount(owner, weights=logp.cpu().double().numpy(), minlength=pairs)
    return (sums / np.bincount(owner, minlength=pairs) if reduction == "mean" else sums).astype(np.float32)
