"""The score of a pair and the order of a list, one number at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PADDING = 2**32 - 1


def score(query: Sequence[float], passage: Sequence[float]) -> float:
    """Products in Python floats, where those of float32 are exact; dimension j goes to sum j mod 8; rounded once to float32."""
    sums = [0.0] * 8
    for at, (left, right) in enumerate(zip(query, passage, strict=True)):
        sums[at % 8] += float(left) * float(right)
    a, b, c, d, e, f, g, h = sums
    return float(np.float32(((a + e) + (c + g)) + ((b + f) + (d + h)))) + 0.0


def top(queries: Sequence[Sequence[float]], passages: Sequence[Sequence[float]], k: int, only: Sequence[bool] | None = None) -> tuple:
    """Rows and scores of the k best passages among those that count: score down, then row up; short lists are padded."""
    counting = [row for row in range(len(passages)) if only is None or only[row]]
    rows, scores = [], []
    for query in queries:
        values = {row: score(query, passages[row]) for row in counting}
        order = sorted(counting, key=lambda row: (-values[row], row))[:k]
        rows.append(order + [PADDING] * (k - len(order)))
        scores.append([values[row] for row in order] + [-np.inf] * (k - len(order)))
    return np.array(rows, dtype=np.uint32), np.array(scores, dtype=np.float32)
