"""`umr search --index`: approximate where it is asked for, and where the round was mined so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Shell = Callable[..., Any]


def test_the_approximate_index_is_built_said_and_used(shell: Shell, work: Path) -> None:
    exact = shell("search", work, "the old bridge", "--lang", "en", "-k", 3, "--json")
    near = shell("search", work, "the old bridge", "--lang", "en", "-k", 3, "--index", "hnsw", "--json")
    assert near.code == 0, near.err
    assert "recall@3" in near.talk
    assert "recall" not in exact.talk
    assert near.json == exact.json
    assert list((work / "embeddings").glob("*/hnsw/index.usearch"))


def test_another_index_is_a_usage_error(shell: Shell, work: Path) -> None:
    assert shell("search", work, "the old bridge", "--index", "ivf").code == 2
