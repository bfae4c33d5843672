"""Exact search as a full sort: every inner product in Python floats, score down, then row up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def search(queries: Sequence[Sequence[float]], passages: Sequence[Sequence[float]], k: int) -> tuple[list[list[int]], list[list[float]]]:
    """Rows and float32 scores of the k best passages of every query.

    The score is the exactly rounded sum of the products (each exact in a Python float when the inputs are float32),
    rounded once more to float32: equal to `umr._rust.search` wherever its sum in float64 loses nothing that float32 shows.
    """
    rows, scores = [], []
    for query in queries:
        values = [float(np.float32(math.fsum(float(a) * float(b) for a, b in zip(query, passage, strict=True)))) for passage in passages]
        order = sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]
        rows.append(order)
        scores.append([values[row] for row in order])
    return rows, scores
