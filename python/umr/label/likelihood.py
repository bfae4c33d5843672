"""From log-probabilities of tokens to the likelihood of a target, and the heads that give them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import Reduction

ROWS = 64  # logit rows in float32 at once


class Head(Protocol):
    """What turns a model's last states into log-probabilities of target tokens."""

    def logp(self, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities of target tokens.

        Arguments:
            hidden: [m, d] last states, normalised as the model's own head takes them.
            rows: [t] int64, the state that predicts each target; a state may predict several.
            targets: [t] int64 token ids.

        Returns:
            [t] float32 nats.
        """
        ...


class Logits:
    """The head of a model whose own forward pass gave the logits already: `hidden` are [m, V] logits."""

    def logp(self, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """See `Head.logp`."""
        sums = torch.cat([some.float().logsumexp(1) for some in torch.split(hidden, ROWS)])
        return hidden[rows, targets].float() - sums[rows]


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
