"""How far two orders of the same candidates agree: Kendall's tau-b and Spearman's rho, query by query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BLOCK = 4_000_000
"""Pairs of candidates compared at once: 16 MB a matrix of signs."""


def rank_correlations(a: NDArray[np.float32], b: NDArray[np.float32], known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Kendall's tau-b and Spearman's rho of two scores of the same candidates; ties share their place.

    Both are the cosine of an antisymmetric table of signs, sign(x_i - x_j): tau-b of the tables themselves, rho of their
    row sums, for the row sum of a candidate is twice its average rank less the mean rank (Kendall, Rank Correlation Methods, 1948).

    Arguments:
        a: [Q, k] float32, greater is better.
        b: [Q, k] float32, greater is better.
        known: [Q, k], which candidates count.

    Returns:
        tau-b [Q] and rho [Q], -1 to 1; NaN where fewer than two candidates count or one of the scores does not differ.
    """
    tau, rho = np.full(len(a), np.nan), np.full(len(a), np.nan)
    step = max(1, BLOCK // max(1, a.shape[1] ** 2))
    for start in range(0, len(a), step):
        part = slice(start, start + step)
        first, second = _signs(a[part], known[part]), _signs(b[part], known[part])
        tau[part] = _cosine(first, second)
        rho[part] = _cosine(first.sum(axis=2, keepdims=True), second.sum(axis=2, keepdims=True))
    return tau, rho


def _signs(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[q, k, k] signs of the differences, 0 where one of the two does not count."""
    values = np.where(known, values, np.float32(0))
    signs: NDArray[np.float32] = np.sign(values[:, :, None] - values[:, None, :])
    signs *= known[:, :, None] & known[:, None, :]
    return signs


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> Floats:
    """[q] cosines over the two last axes; each row is added in float32, where whole numbers stay exact, the rest in float64."""
    inner, left, right = (np.einsum("qij,qij->qi", x, y).sum(axis=1, dtype=np.float64) for x, y in ((a, b), (a, a), (b, b)))
    with np.errstate(invalid="ignore"):
        found: Floats = inner / np.sqrt(left * right)
    return found
