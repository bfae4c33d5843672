"""`umr eval --index`: what is measured is exact, however the round was mined, unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Shell = Callable[..., Any]


def test_a_round_mined_with_the_approximate_index_is_measured_exactly(shell: Shell, work: Path, tmp_path: Path) -> None:
    mined = shell("mine", work, "--top-k", 4, "--index", "hnsw")
    assert "approximate index" in mined.talk
    gold = tmp_path / "gold.qrels"
    gold.write_text("q7 0 p8 1\n", encoding="utf-8")
    call = ("eval", work, "--qrels", gold, "--round", 1, "--top-k", 4, "--metrics", "R@1", "--json")
    exact = shell(*call)
    assert exact.code == 0, exact.err
    assert "approximate" not in exact.talk
    near = shell(*call, "--index", "hnsw")
    assert near.code == 0, near.err
    assert "approximate index" in near.talk
    assert near.json == exact.json
