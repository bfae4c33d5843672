"""Small files and tokenizers that every test of the boundary may use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from umr._rust import Records

Rows = NDArray[np.uint32]


def rows(*numbers: int) -> Rows:
    """Row numbers as the boundary wants them."""
    return np.array(numbers, dtype=np.uint32)


@pytest.fixture
def passages(tmp_path: Path) -> Callable[[str], Records]:
    """Open passages from the text of a TSV file."""

    def make(text: str) -> Records:
        path = tmp_path / "passages.tsv"
        path.write_text(text, encoding="utf-8")
        return Records.open([str(path)], "passages", str(tmp_path / "cache"))

    return make
