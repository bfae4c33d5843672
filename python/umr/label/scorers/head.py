"""From last states to log-probabilities of target tokens, without a table of tokens by vocabulary; in fp32 always.

A multilingual model spends half of its time on 262,144 logits a token. Here only states that predict a target are multiplied,
a chunk of the vocabulary at a time, and a chunk's logits are gone once their log-sum-exp is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from umr.config import Precision, Reduction
from umr.models.device import product_in_float32

MEMORY = {"cpu": 4 << 20, "cuda": 1 << 30}  # bytes of float32 logits held at once: a CPU's cache, a GPU's launches
CHUNK_ROWS = 1024  # vocabulary rows in a chunk, or a multiple of it: other numbers make a slower matrix product
STATES = 4096  # states in a block at most
LOGITS = 64  # rows of whole logits that are summed at once
NEGLIGIBLE = -80.0  # nats below the largest logit: e to it adds nothing, and smaller ones make slow subnormal numbers
AGREE: dict[Precision, float] = {"fp32": 1e-5, "bf16": 2e-2}  # difference of two ways to compute, of the largest value


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


class OwnLogits:
    """The head of a model whose own forward pass gave the logits already: `hidden` are [m, V] logits."""

    def logp(self, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """See `Head.logp`."""
        sums = torch.cat([some.float().logsumexp(1) for some in torch.split(hidden, LOGITS)])
        return hidden[rows, targets].float() - sums[rows]


@dataclass(frozen=True)
class Projection:
    """How a model makes logits of its last states: cap * tanh((scale * state @ weight.T + bias) / cap), with what there is of it.

    Arguments:
        weight: [V, d] float32.
        bias: [V], or None.
        scale: of the states (Cohere, Granite, T5 with tied embeddings); 1.0 where there is none.
        cap: of the logits (Gemma 2), or None.
    """

    weight: Tensor
    bias: Tensor | None
    scale: float
    cap: float | None


class ChunkedHead:
    """Log-probabilities of targets, a chunk of the vocabulary at a time.

    Arguments:
        projection: of the model.
        memory: bytes of float32 logits held at once, or None for a default that suits the device.
        split: on a GPU, multiply weights that are exact in bf16 with the states in two bf16 parts, which together keep 16 of
            the 24 bits: several times as fast as fp32, and far within the rounding of a body in bf16. Both products are one, and each
            state's logits lie together, as torch's kernel for a softmax wants them.
    """

    def __init__(self, projection: Projection, memory: int | None = None, split: bool = False) -> None:
        self.projection = projection
        half = projection.weight.bfloat16() if split and projection.weight.device.type == "cuda" else None
        exact = half is not None and bool((half.float() == projection.weight).all())
        self.twice = torch.cat([half, half], dim=1) if half is not None and exact else None  # [V, 2d] bf16
        self.memory = memory or MEMORY.get(projection.weight.device.type, MEMORY["cpu"])

    def logp(self, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """See `Head.logp`."""
        with torch.autocast(hidden.device.type, enabled=False):
            states = hidden.float() * self.projection.scale
            sums = torch.cat([self._logsumexp(some) for some in torch.split(states, STATES)])
            wanted = [self._targets(states, r, t) for r, t in zip(torch.split(rows, STATES), torch.split(targets, STATES), strict=True)]
            return torch.cat(wanted) - sums[rows]

    def _logsumexp(self, states: Tensor) -> Tensor:
        """[m] log-sum-exp over the vocabulary of states [m, d]."""
        if self.twice is not None:
            rows = max(1, self.memory // (8 * len(self.twice)))  # their logits and the softmax
            return torch.cat([self._of_whole_rows(some, self.twice) for some in torch.split(states, rows)])
        size = CHUNK_ROWS * max(1, self.memory // (4 * CHUNK_ROWS * max(len(states), 1)))
        parts = []
        for start in range(0, len(self.projection.weight), size):
            logits = self.logits(states, start, start + size)
            largest = logits.amax(0)
            parts.append(largest + logits.sub_(largest).clamp_(min=NEGLIGIBLE).exp_().sum(0).log())
        return torch.stack(parts).logsumexp(0)

    def _of_whole_rows(self, states: Tensor, twice: Tensor) -> Tensor:
        """The same of states [m, d] in two parts, from whole rows of logits, which torch reads twice and writes once."""
        logits = self._finished(product_in_float32(two_parts(states), twice), ...)  # [m, V]
        return logits[:, 0] - logits.log_softmax(1)[:, 0]

    def logits(self, states: Tensor, start: int, end: int) -> Tensor:
        """Logits [end - start, m] of scaled states [m, d] for a part of the vocabulary; this way round a processor's product is faster."""
        return self._finished(self.projection.weight[start:end] @ states.T, (slice(start, end), None))

    def _finished(self, logits: Tensor, part: Any) -> Tensor:
        """Products of states and weights with the bias of their part of the vocabulary, and capped; changed in place."""
        bias, cap = self.projection.bias, self.projection.cap
        if bias is not None:
            logits += bias[part]
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)

    def _targets(self, states: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
        """[t] logits of the targets alone."""
        return self._finished((states[rows] * self.projection.weight[targets]).sum(1), targets)


def two_parts(states: Tensor) -> Tensor:
    """States [m, d] float32 as [m, 2d] bf16: each rounded, and what the rounding left. The sum of both keeps 16 bits."""
    high = states.bfloat16()
    return torch.cat([high, (states - high.float()).bfloat16()], dim=1)


def find_projection(model: Any, hidden: Tensor, logits: Tensor, precision: Precision) -> Projection | None:
    """The projection that makes these logits of these states, found among the forms that models have.

    Arguments:
        model: transformers model.
        hidden: [m, d] last states of some tokens.
        logits: [m, V] what the model itself makes of them.
        precision: in which the model made them.

    Returns:
        None where no known form gives the model's own logits: then its own forward pass has to.
    """
    layer = model.get_output_embeddings()
    weight = getattr(layer, "weight", None)
    if type(weight) is not torch.nn.Parameter or weight.dtype != torch.float32 or weight.shape != (logits.shape[1], hidden.shape[1]):
        return None
    config, weight = model.config.get_text_config(), weight.detach().to(hidden.device)  # of a model on several GPUs it may be on another
    cap = getattr(config, "final_logit_softcapping", None)
    wanted = logits.float()
    for scale in _scales(config, hidden.shape[1]):
        found = Projection(weight, _bias(model, layer), scale, cap)
        with torch.autocast(hidden.device.type, enabled=False):
            mine = ChunkedHead(found).logits(hidden.float() * scale, 0, len(weight)).T
        if bool((mine - wanted).abs().max() <= AGREE[precision] * wanted.abs().max().clamp(min=1)):
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
    found = [b.float() for b in found if bool(b.any())]
    return torch.stack(found).sum(0) if found else None


def reduce(logp: Tensor, counts: Tensor, reduction: Reduction) -> Tensor:
    """Mean (UMR) or sum (UPR) of the log-probabilities of each pair, in float64, rounded once.

    Arguments:
        logp: [t] float32 nats, one pair behind the other.
        counts: [n] int64 target tokens of each pair, at least one.
        reduction: mean or sum.

    Returns:
        [n] float32 nats.
    """
    return torch.segment_reduce(logp.double(), reduction, lengths=counts, unsafe=True).float()  # unsafe: a check of them would wait
