"""Labels written as the definition says them, one query and one passage at a time: the slow twin of `umr.data.labels`."""

from __future__ import annotations

import math
from collections.abc import Sequence


def labels(scores: Sequence[Sequence[float]], temperature: float) -> list[list[float]]:
    """log p(passage | query) over the query's own candidates: softmax of score / temperature, in logarithms."""
    return [_row([score / temperature for score in row]) for row in scores]


def _row(scaled: Sequence[float]) -> list[float]:
    largest = max(scaled)
    total = math.fsum(math.exp(value - largest) for value in scaled)
    return [value - largest - math.log(total) for value in scaled]
