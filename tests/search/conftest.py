"""A store of passages and queries that look for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search.rig import Floats, stored, unit
from umr.data.embeddings import Embeddings


@pytest.fixture
def store(tmp_path: Path) -> Embeddings:
    return stored(tmp_path, unit(np.random.default_rng(0), 3000), shard_rows=1024)


@pytest.fixture
def queries() -> Floats:
    return unit(np.random.default_rng(1), 100)
