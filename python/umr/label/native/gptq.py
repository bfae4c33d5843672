"""Codes of weights in 8 bits: the nearest ones, or ones that make up for each other's errors (GPTQ, Frantar et al. 2023).

The columns of a group are rounded from the first to the last, and after each the columns to come take over what its error
does to the product, as far as inputs of the second moments H let them. With U the upper Cholesky factor of H^-1 that is
w[k] -= U[j, k] (w[j] - code unit) / U[j, j] for k > j. Groups are independent of each other, so all go at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOP = 127  # largest code
SMALLEST = 1e-12  # unit, of weights that are all zero
DAMP = 0.01  # of the mean second moment, added to each: keeps H away from singular ones
PART = 16  # columns whose errors reach the columns behind them in one matrix product


def blocks(values: Tensor, size: int) -> Tensor:
    """[m, K / size, size] the columns of values [m, K] in groups."""
    return values.view(len(values), -1, size)


def units_of(weights: Tensor, group: int) -> Tensor:
    """[N, K / group] value of one unit of a code, so that the largest of a group of weights [N, K] gets the largest code."""
    return (blocks(weights, group).abs().amax(2) / TOP).clamp_min(SMALLEST)


def code(weights: Tensor, units: Tensor) -> Tensor:
    """The nearest codes, as floats; the shapes broadcast."""
    return (weights / units).round_().clamp_(-TOP, TOP)


def nearest(weights: Tensor, units: Tensor) -> Tensor:
    """[N, K] int8 codes of weights [N, K], each rounded for itself; units [N, groups]."""
    groups = blocks(weights, weights.shape[1] // units.shape[1])
    return code(groups, units[..., None]).to(torch.int8).flatten(1)


def compensated(weights: Tensor, units: Tensor, moments: Tensor) -> Tensor:
    """Codes of which later ones make up for the errors of earlier ones of their group.

    Arguments:
        weights: [N, K].
        units: [N, groups] value of one unit of a code.
        moments: [groups, K / groups, K / groups] second moments of the inputs, of any scale.

    Returns:
        [N, K] int8.
    """
    groups, size, _ = moments.shape
    upper = _inverse_root(moments).to(weights.dtype)
    left = weights.T.reshape(groups, size, -1).clone()  # [groups, columns, N]: what is left to round
    codes = torch.empty_like(left, dtype=torch.int8)
    for start in range(0, size, PART):
        end = min(start + PART, size)
        errors = _round_part(left[:, start:end], codes[:, start:end], units.T, upper[:, start:end, start:end])
        left[:, end:] -= upper[:, start:end, end:].mT @ errors
    return codes.flatten(0, 1).T.contiguous()


def _round_part(left: Tensor, codes: Tensor, units: Tensor, upper: Tensor) -> Tensor:
    """Round some columns [groups, c, N] one after the other; returns their errors over the diagonal of U, [groups, c, N]."""
    errors = torch.empty_like(left)
    for at in range(left.shape[1]):
        found = code(left[:, at], units)
        codes[:, at] = found
        errors[:, at] = (left[:, at] - found * units) / upper[:, at, at, None]
        left[:, at + 1 :] -= upper[:, at, at + 1 :, None] * errors[:, at, None]
    return errors


def _inverse_root(moments: Tensor) -> Tensor:
    """U with U^T U = H^-1, upper triangular, in float64."""
    wide = moments.double()
    mean = wide.diagonal(dim1=1, dim2=2).mean(1)
    extra = torch.where(mean > 0, DAMP * mean, torch.ones_like(mean))  # without any inputs nothing is to be made up for
    damped = wide + torch.diag_embed(extra[:, None].expand(-1, wide.shape[1]))
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)  # type: ignore[no-any-return]
