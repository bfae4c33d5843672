"""Rounding with compensation as Optimal Brain Quantization derives it, a row and a column at a time: the slow twin of `native.gptq`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def compensated(weights: NDArray[np.float64], units: NDArray[np.float64], moments: NDArray[np.float64], damp: float) -> NDArray[np.int8]:
    """Codes [N, K] of weights [N, K] with units [N, groups] for inputs of second moments [groups, K / groups, K / groups].

    What the error of column j is worth in the columns still to be rounded is row 0 of the inverse of their second moments,
    which is computed anew for every column.
    """
    groups, size, _ = moments.shape
    codes = np.zeros(weights.shape, dtype=np.int8)
    for group in range(groups):
        second = moments[group] + damp * np.trace(moments[group]) / size * np.eye(size)
        for row in range(len(weights)):
            unit, left = units[row, group], weights[row, group * size : (group + 1) * size].copy()
            for at in range(size):
                code = min(max(round(left[at] / unit), -127), 127)
                codes[row, group * size + at] = code
                inverse = np.linalg.inv(second[at:, at:])
                left[at:] -= (left[at] - code * unit) / inverse[0, 0] * inverse[0]
    return codes
