"""The vocabulary head without a logit tensor: log-sum-exp over chunks of the vocabulary, target logits from their own rows.

A multilingual model spends half of its time on 262,144 logits a token. Here only states that predict a target are multiplied,
a chunk of the vocabulary at a time, and a chunk's logits are gone once their log-sum-exp is taken in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MEMORY = {"cpu": 4 << 20, "cuda": 512 << 20}  # bytes of float32 logits held at once: a CPU's cache, a GPU's launches
LEAST = 1024  # vocabulary rows in a chunk: fewer make a slow matrix product
STATES = 4096  # states in a block at most
FAR = -80.0  # below the largest logit: e to it is nothing, and what is smaller makes slow subnormal numbers
AGREE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}  # of the largest logit


@dataclass(frozen=True)
class Projection:
    """How a model makes logits of its last states: cap * tanh((scale * state @ weight.T + bias) / cap), with what there is of it.

    Arguments:
        weight: [V, d] of any floating dtype.
        bias: [V], or None.
        scale: of the states (Cohere, Granite, T5 with tied embeddings); 1.0 where there is none.
        cap: of the logits (Gemma 2), or None.
    """

    weight: Tensor
    bias: Tensor | None
    scale: float
    cap: float | None


class ChunkedHead:
    """Log-probabilities of targets through torch's matrix product.

    Arguments:
        projection: of the model.
        memory: bytes of float32 logits held at once, or None for a default that suits the device.
    """

    def __init__(self, projection: Projection, memory: int | None = None) -> None:
        self.projection = projection
        device = projection.weight.device
        self.memory = memory or MEMORY.get(device.type, MEMORY["cpu"])
        self._wide = projection.weight.dtype != torch.float32 and _multiplies_into_float32(projection.weight)

    def logp(self, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities of target tokens.

        Arguments:
            hidden: [m, d] last states.
            rows: [t] int64, the state that predicts each target.
            targets: [t] int64 token ids.

        Returns:
            [t] float32 nats.
        """
        states = hidden * self.projection.scale if self.projection.scale != 1 else hidden
        sums = torch.cat([self._logsumexp(some) for some in torch.split(states, STATES)])
        wanted = [self._logits(states, r, t) for r, t in zip(torch.split(rows, STATES), torch.split(targets, STATES), strict=True)]
        return torch.cat(wanted) - sums[rows]

    def _logsumexp(self, states: Tensor) -> Tensor:
        """[m] float32 log-sum-exp over the vocabulary of states [m, d]."""
        parts = []
        for start, end in self._chunks(len(states)):
            logits = self._finish(self._product(states, self.projection.weight[start:end]), start, end)
            largest = logits.amax(1, keepdim=True)
            parts.append(largest[:, 0] + logits.sub_(largest).clamp_(min=FAR).exp_().sum(1).log())
        return torch.stack(parts).logsumexp(0)

    def _chunks(self, states: int) -> Iterator[tuple[int, int]]:
        size = max(LEAST, self.memory // (4 * max(states, 1)))
        total = len(self.projection.weight)
        for start in range(0, total, size):
            yield start, min(start + size, total)

    def _product(self, states: Tensor, weight: Tensor) -> Tensor:
        if self._wide:
            return torch.mm(states, weight.T, out_dtype=torch.float32)
        return (states @ weight.T).float()

    def _finish(self, logits: Tensor, start: int, end: int) -> Tensor:
        """Bias and cap of float32 logits [m, end - start], in place."""
        if self.projection.bias is not None:
            logits += self.projection.bias[start:end].float()
        if self.projection.cap is not None:
            logits.div_(self.projection.cap).tanh_().mul_(self.projection.cap)
        return logits

    def _logits(self, states: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """[t] float32 logits of the targets alone."""
        logits = (states[rows].float() * self.projection.weight[targets].float()).sum(1)
        if self.projection.bias is not None:
            logits += self.projection.bias[targets].float()
        cap = self.projection.cap
        return cap * torch.tanh(logits / cap) if cap is not None else logits


def _multiplies_into_float32(weight: Tensor) -> bool:
    """Whether a matrix product of this dtype can leave its float32 sums unrounded here."""
    try:
        torch.mm(weight[:1], weight[:1].T, out_dtype=torch.float32)
    except (RuntimeError, TypeError, NotImplementedError):
        return False
    return True


def find_projection(model: Any, hidden: Tensor, logits: Tensor) -> Projection | None:
    """The projection that makes these logits of these states, found among the forms that models have.

    Arguments:
        model: transformers model.
        hidden: [m, d] last states of some tokens.
        logits: [m, V] what the model itself makes of them.

    Returns:
        None where no known form gives the model's own logits: then its own forward pass has to.
    """
    layer = model.get_output_embeddings()
    weight = getattr(layer, "weight", None)
    if type(weight) is not torch.nn.Parameter or weight.dtype not in AGREE or weight.shape != (logits.shape[1], hidden.shape[1]):
        return None
    if weight.device != hidden.device:  # spread over devices
        return None
    config, weight = model.config.get_text_config(), weight.detach()
    cap = getattr(config, "final_logit_softcapping", None)
    for scale in _scales(config, hidden.shape[1]):
        found = Projection(weight, _bias(model, layer), scale, cap)
        if _agrees(found, hidden, logits):
            return found
    return None


def _scales(config: Any, dimensions: int) -> Iterator[float]:
    yield 1.0
    yield float(dimensions) ** -0.5  # T5 with tied embeddings
    for name in ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier"):
        value = getattr(config, name, None)
        if isinstance(value, (int, float)) and value:
            yield float(value)
            yield 1 / float(value)


def _bias(model: Any, layer: Any) -> Tensor | None:
    """The bias [V] of the layer and that of the model (BART), or None."""
    found = [b.detach().reshape(-1) for b in (getattr(layer, "bias", None), getattr(model, "final_logits_bias", None)) if b is not None]
    found = [b for b in found if bool(b.any())]
    return torch.stack(found).sum(0) if found else None


def _agrees(found: Projection, hidden: Tensor, logits: Tensor) -> bool:
    head = ChunkedHead(found)
    states = hidden * found.scale
    mine = head._finish(head._product(states, found.weight), 0, len(found.weight))
    largest = float(logits.float().abs().max())
    return bool((mine - logits.float()).abs().max() <= AGREE[found.weight.dtype] * max(1.0, largest))
