"""`--index` of `umr search` (as the round was mined) and of `umr eval` (exact), unless asked otherwise."""

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


def test_a_round_mined_with_the_approximate_index_is_measured_exactly(shell: Shell, work: Path, tmp_path: Path) -> None:
    mined = shell("mine", work, "--top-k", 4, "--index", "hnsw")
    assert "approximate index" in mined.talk
    gold = tmp_path / "gold.qrels"
    gold.write_text("q7 0 p8 1\n", encoding="utf-8")
    call = ("eval", work, "--qrels", gold, "--round", 0, "--top-k", 4, "--metrics", "R@1", "--json")
    exact = shell(*call)
    assert exact.code == 0, exact.err
    assert "approximate" not in exact.talk
    near = shell(*call, "--index", "hnsw")
    assert near.code == 0, near.err
    assert "approximate index" in near.talk
    assert near.json == exact.json
