"""Labels written as the definition says them, one query and one passage at a time: the slow twin of `umr.data.labels`."""

from __future__ import annotations

import math
from collections.abc import Sequence


def labels(scores: Sequence[Sequence[float]], temperature: float) -> list[list[float]]:
    """log p(passage | query) over the query's own scored candidates: softmax of score / temperature, in logarithms; -inf for NaN."""
    return [_row([score / temperature for score in row]) for row in scores]


def _row(scaled: Sequence[float]) -> list[float]:
    scored = [value for value in scaled if not math.isnan(value)]
    largest = max(scored)
    total = math.fsum(math.exp(value - largest) for value in scored)
    return [-math.inf if math.isnan(value) else value - largest - math.log(total) for value in scaled]
