"""Do two sets of scores put the candidates of a query into the same order?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Order:
    """How scores compare with exact ones.

    Arguments:
        tau: mean over queries of Kendall's tau-b.
        error: its standard error.
        largest: difference of two scores, in nats.
    """

    tau: float
    error: float
    largest: float


def compare(exact: Sequence[float], scores: Sequence[float], owner: Sequence[int]) -> Order:
    """Compare scores query by query.

    Arguments:
        exact: [m] nats.
        scores: [m] nats.
        owner: [m] which query a pair belongs to.
    """
    from scipy.stats import kendalltau

    left, right, of = np.asarray(exact), np.asarray(scores), np.asarray(owner)
    found = [float(kendalltau(left[of == n], right[of == n]).statistic) for n in np.unique(of)]
    return Order(float(np.mean(found)), float(np.std(found) / np.sqrt(len(found))), float(np.abs(left - right).max()))
