"""Ranked lists of passages, one a query: what every search gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING

Rows = NDArray[np.uint32]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Lists(NamedTuple):
    """Ranked lists of Q queries.

    Arguments:
        rows: [Q, k] uint32 rows of the corpus, best first, none twice in a list; PADDING at the end of shorter lists.
        scores: [Q, k] float32, never rising along a list; -inf where padded.
    """

    rows: Rows
    scores: Floats

    def part(self, some: slice | Bools) -> Lists:
        """The lists of some queries."""
        return Lists(self.rows[some], self.scores[some])


def no_lists(queries: int, width: int) -> Lists:
    """Empty lists: [queries, width] of padding."""
    shape = (queries, width)
    return Lists(np.full(shape, PADDING, dtype=np.uint32), np.full(shape, -np.inf, dtype=np.float32))
