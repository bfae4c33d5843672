"""What is done to a product before it is rounded to 8 bits: large inputs are made smaller, and what is large is spread.

W x = (W diag(s) R) (R diag(1 / s) x). The factors s move the size of large inputs into the weights (SmoothQuant, Xiao et al.
2023, equation 4); their exponent is the one of a few with the least error. R turns blocks of 128 inputs by an orthonormal
Walsh-Hadamard matrix, its own inverse, so that a single large value becomes many of middling size (QuaRot, Ashkboos et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from umr.label.native.gptq import blocks, code, units_of
from umr.label.native.inputs import BLOCK, Inputs

EXPONENTS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8)  # 0 leaves the inputs as they are
LEAST = 1e-5  # of a largest value: a channel that is never used must not become infinite
LEVELS = 255  # of inputs


def hadamard(size: int) -> Tensor:
    """[size, size] the orthonormal Walsh-Hadamard matrix in Sylvester's order, symmetric; the size is a power of two."""
    made = torch.ones(1, 1)
    while len(made) < size:
        made = torch.cat([torch.cat([made, made], 1), torch.cat([made, -made], 1)])
    return made / sqrt(size)


def turn(values: Tensor) -> Tensor:
    """Values [m, K] times R: each block of 128 columns turned."""
    return blocks(values, BLOCK).matmul(hadamard(BLOCK)).flatten(1)


def turn_moments(moments: Tensor, factors: Tensor) -> Tensor:
    """The second moments of R diag(1 / s) x.

    Arguments:
        moments: [K / 128, 128, 128] of x.
        factors: s, [K].
    """
    inverse = 1 / factors.view(-1, BLOCK)
    return hadamard(BLOCK) @ (moments * inverse[:, :, None] * inverse[:, None, :]) @ hadamard(BLOCK)


def smoothing(inputs: Tensor, weights: Tensor, exponent: float) -> Tensor:
    """The factors s [K], of geometric mean 1.

    Arguments:
        inputs: [K] largest magnitudes.
        weights: [K] largest magnitudes of the columns.
        exponent: 0 to 1, how much of the inputs' size the weights take.
    """
    if exponent == 0:
        return torch.ones_like(inputs)
    raw = inputs.clamp_min(LEAST) ** exponent / weights.clamp_min(LEAST) ** (1 - exponent)
    return raw / raw.log().mean().exp()


def columns(weights: Sequence[Tensor]) -> Tensor:
    """[K] largest magnitudes of the columns of stacked matrices [n, K]."""
    return torch.stack([torch.maximum(part.amax(0), -part.amin(0)) for part in weights]).amax(0)


def best_smoothing(inputs: Inputs, weights: Sequence[Tensor]) -> Tensor:
    """The factors s [K] with the least error of products whose inputs and weights are rounded in groups of 128.

    Arguments:
        inputs: of the product.
        weights: stacked matrices [n, K], whose relative errors count alike.
    """
    rows, largest = inputs.rows, columns(weights)
    exact = [rows @ part.T for part in weights]
    tried = [smoothing(inputs.largest, largest, exponent) for exponent in EXPONENTS]
    errors = [_error(rows, weights, exact, factors) for factors in tried]
    return tried[errors.index(min(errors))]


def _error(rows: Tensor, weights: Sequence[Tensor], exact: Sequence[Tensor], factors: Tensor) -> float:
    """Squared errors of the products [r, n], each over the square of the product, summed over matrices."""
    states = _rounded_inputs(turn(rows / factors))
    found = (states @ _rounded(turn(part * factors)).T for part in weights)
    pairs = zip(found, exact, strict=True)
    return sum(float((got - right).square().sum() / right.square().sum().clamp_min(1e-30)) for got, right in pairs)


def _rounded(weights: Tensor) -> Tensor:
    units = units_of(weights, BLOCK)
    return code(blocks(weights, BLOCK), units[..., None]).mul_(units[..., None]).flatten(1)


def _rounded_inputs(values: Tensor) -> Tensor:
    """[T, K] as the compiled core rounds them: 256 codes over the range of a group and zero."""
    groups = blocks(values, BLOCK)
    low, high = groups.amin(2, keepdim=True).clamp_max(0), groups.amax(2, keepdim=True).clamp_min(0)
    unit = ((high - low) / LEVELS).clamp_min(1e-30)
    zero = (-low / unit).round()
    return ((groups / unit + zero).round().clamp(0, LEVELS) - zero).mul_(unit).flatten(1)
