"""The vocabulary head of the compiled core, for models whose body runs in torch: encoder-decoders and what the core does not know."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from umr._rust import Linear, instructions
from umr.label.head import ChunkedHead, Projection

KINDS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class NativeHead:
    """Log-probabilities of targets by the compiled core; see `umr.label.likelihood.Head`.

    Arguments:
        projection: of the model, without a bias, on the processor.
    """

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self._linear = Linear(KINDS[projection.weight.dtype], [_numbers(projection.weight)])

    def logp(self, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities of target tokens.

        Arguments:
            hidden: [m, d] last states.
            rows: [t] int64, the state that predicts each target.
            targets: [t] int64 token ids.

        Returns:
            [t] float32 nats.
        """
        states = hidden.float() * self.projection.scale if self.projection.scale != 1 else hidden.float()
        found = self._linear.target_logp(states.contiguous().numpy(), rows.numpy(), targets.numpy(), cap=self.projection.cap)
        return torch.from_numpy(found)


def take_head(scorer: Any) -> Any:
    """Let the compiled core compute a torch scorer's head where it can and is the faster one.

    Arguments:
        scorer: changed in place.

    Returns:
        the scorer.
    """
    head = getattr(scorer, "head", None)
    if isinstance(head, ChunkedHead) and _fits(head.projection):
        scorer.head = NativeHead(head.projection)
    return scorer


def _fits(projection: Projection) -> bool:
    """Torch multiplies bf16 faster where our kernels have no instructions for it."""
    kind = KINDS.get(projection.weight.dtype)
    if kind is None or projection.bias is not None or projection.weight.device.type != "cpu":
        return False
    return instructions(kind) == "avx512" or (kind == "f32" and instructions(kind) == "avx2")


def _numbers(weight: Tensor) -> Any:
    return weight.view(torch.uint16).numpy() if weight.dtype == torch.bfloat16 else weight.numpy()
