"""The state of an unfinished search is that of one search: others among the same vectors leave it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mine.test_accelerator import stored
from umr.config import MineConfig
from umr.mine import search
from umr.mine.index import find

CPU = MineConfig(device="cpu", threads=1)


def test_every_search_has_a_state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path | None] = []

    def stub(*_: Any, checkpoint: Path | None, **__: Any) -> None:
        asked.append(checkpoint)

    monkeypatch.setattr(search, "top_k", stub)
    store = stored(tmp_path, np.ones((9, 4), np.float32))
    queries, some = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.arange(9) < 5
    calls: list[tuple[Any, int, Any]] = [
        (queries, 3, None), (queries, 4, None), (queries[:5], 3, None), (queries[::-1], 3, None), (queries * 2, 3, None),
        (queries, 3, some), (queries, 3, ~some), (np.asfortranarray(queries), 3, None),
    ]  # fmt: skip
    for vectors, k, only in calls:
        find(vectors, store, k, CPU, only=only)
    assert len(set(asked[:-1])) == len(calls) - 1
    assert asked[-1] == asked[0]
    assert all(path is not None and path.parent == tmp_path and path.match("search-????????????????.partial") for path in asked)
    find(queries[:1], store, 3, CPU)  # over before a file is written
    assert asked[-1] is None


def test_a_search_leaves_the_state_of_another_and_removes_its_own(tmp_path: Path) -> None:
    store = stored(tmp_path, np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    other = tmp_path / "search-0123456789abcdef.partial"
    other.write_bytes(b"of another search")
    find(np.ones((30, 4), np.float32), store, 3, CPU)
    assert [path.name for path in tmp_path.glob("search*")] == [other.name]
    assert other.read_bytes() == b"of another search"
