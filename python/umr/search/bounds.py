"""Inner products in half precision with a proven bound of their error: which passages can still be among the best.

The proof stands in docs/search.md, section "On a GPU".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.models.device import product_in_float32

MOST_DIMENSIONS = 65536  # up to which the proof holds
NORM_FACTOR = 1.02  # covers that norms and their products are rounded themselves
NORM_UNDERFLOW = 2.0**-60  # what underflow may take from the norm of a vector whose largest value is near 1
SUM_ERROR = 2.0**-20  # 8 times the relative error of one addition in f32, even where it truncates
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class HalfPrecision:
    """Vectors in bf16, and how far they are from those that they stand for.

    Arguments:
        values: [m, d] bf16.
        norms: [m] float32, at least the norm of each row of `values`.
        residues: [m] float32, at least the norm of the difference.
    """

    values: Tensor
    norms: Tensor
    residues: Tensor

    def __getitem__(self, span: slice) -> HalfPrecision:
        return HalfPrecision(self.values[span], self.norms[span], self.residues[span])


def half_precision(vectors: Tensor) -> HalfPrecision:
    """Round vectors [m, d] float32 that are themselves off by at most one rounding, their largest value near 1."""
    values = vectors.to(torch.bfloat16)
    floats = values.float()
    norms = torch.linalg.vector_norm(floats, dim=1) * NORM_FACTOR + NORM_UNDERFLOW
    residues = torch.linalg.vector_norm(vectors - floats, dim=1) * NORM_FACTOR + norms * 2.0**-23 + NORM_UNDERFLOW
    return HalfPrecision(values, norms, residues)


def exponent(largest: float) -> int:
    """The power of two that brings a largest value near 1, within the range where scaling by it is exact in float32."""
    return int(np.clip(np.frexp(largest)[1], -100, 120))


class HalfPrecisionQueries:
    """Queries on a device, each scaled by its own power of two and rounded, with what turns scores into bounds.

    A score is q.p = q.m + 2^(e + E) (q'.p'), where q' = 2^-e q, p' = 2^-E (p - m), and m is any vector at all.

    Arguments:
        queries: [Q, d] float32, finite.
        centre: [d] float32, m; the mean of the passages makes the bounds tight.
        device: where.
    """

    def __init__(self, queries: NDArray[np.float32], centre: NDArray[np.float32], device: torch.device) -> None:
        doubles, shared = queries.astype(np.float64), centre.astype(np.float64)
        powers = np.clip(np.frexp(np.abs(queries).max(axis=1, initial=0))[1], -100, 120)
        offset_error = queries.shape[1] * 2.0**-50 * np.linalg.norm(doubles, axis=1) * np.linalg.norm(shared)
        self.exact = torch.from_numpy(queries).to(device)
        self.rounded = half_precision(torch.from_numpy(np.ldexp(queries, -powers[:, None])).to(device))
        self.scale = torch.from_numpy(np.ldexp(1.0, powers)).to(device)
        self.offset, self.offset_error = (torch.from_numpy(x).to(device) for x in (doubles @ shared, offset_error))
        norms, residues = self.rounded.norms, self.rounded.residues
        weights = (norms + residues, residues + (queries.shape[1] + 16) * SUM_ERROR * norms)
        self.weights = torch.stack(weights, dim=1) * NORM_FACTOR  # [Q, 2]: of a passage's residue and norm in the bound

    def upper_bounds(self, span: slice, passages: HalfPrecision) -> Tensor:
        """Upper bounds [q, m] of q'.p'."""
        bounds = product_in_float32(self.rounded.values[span], passages.values)
        return bounds.addmm_(self.weights[span], torch.stack([passages.residues, passages.norms]))

    def lower_bound(self, span: slice, upper: Tensor, passages: HalfPrecision, k: int, power: int) -> Tensor:
        """A lower bound [q] float64 of the k-th best score among these passages.

        Arguments:
            span: which queries.
            upper: [q, m] upper bounds, m at least k.
            passages: m passages.
            k: length of a list.
            power: E.
        """
        best, at = upper.topk(k, dim=1)
        width = self.weights[span, :1] * passages.residues[at] + self.weights[span, 1:] * passages.norms[at]
        lower = (best - 2.1 * width).amin(dim=1).double()
        score = lower * self.scale[span] * 2.0**power + self.offset[span] - self.offset_error[span]
        return (score - score.abs() * 2.0**-22 - 2.0**-140).clamp(max=LARGEST_FLOAT32).float().double()

    def thresholds(self, span: slice, kth_scores: Tensor, power: int) -> Tensor:
        """What an upper bound must reach [q] float32, so that the passage's score can be `kth_scores` [q] float64 or more."""
        least = kth_scores - kth_scores.abs() * 2.0**-23 - 2.0**-148
        scaled = (least - self.offset[span] - self.offset_error[span]) / self.scale[span] * 2.0**-power
        return (scaled - scaled.abs() * 2.0**-22 - 2.0**-120).float()


@contextmanager
def float32_sums() -> Iterator[None]:
    """Forbid that partial sums of a product on a GPU are added in bf16."""
    options = torch.backends.cuda.matmul
    before = options.allow_bf16_reduced_precision_reduction
    options.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        options.allow_bf16_reduced_precision_reduction = before
