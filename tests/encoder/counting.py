"""Stands for the forward passes of an encoder.

Imported as `encoder.counting` (`tests/` is on the path).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint32]


class Counting:
    """Stands for the forward passes: counts rows, gives every row its own vector, and can die or spoil a row."""

    def __init__(self, die_at: int = -1, spoiled: int = -1) -> None:
        self.rows: list[int] = []
        self.die_at, self.spoiled = die_at, spoiled

    def __call__(self, tower: Any, tokens: Any, rows: Rows, *_: Any) -> NDArray[np.float32]:
        if self.die_at in rows:
            raise KeyboardInterrupt
        self.rows += rows.tolist()
        vectors = np.eye(32, dtype=np.float32)[rows % 32] * (1 + rows[:, None]).astype(np.float32)
        vectors[rows == self.spoiled] = np.nan
        return vectors
