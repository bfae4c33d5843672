"""One way to search: what is refused, which index answers, and checkpoints that are those of one search."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.rig import Floats, require_same, spoil, stored
from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.errors import InputError, ScoreError, UsageError
from umr.search import find
from umr.search.exact import top_k

SEARCH = import_module("umr.search")  # `umr.search` itself is the function
CPU = MineConfig(device="cpu", threads=1)


def test_every_search_has_a_checkpoint_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path | None] = []

    def stub(*_: Any, checkpoint: Path | None, **__: Any) -> None:
        asked.append(checkpoint)

    monkeypatch.setattr(SEARCH, "top_k", stub)
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


def test_a_search_leaves_the_checkpoint_of_another_and_removes_its_own(tmp_path: Path) -> None:
    store = stored(tmp_path, np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    other = tmp_path / "search-0123456789abcdef.partial"
    other.write_bytes(b"of another search")
    find(np.ones((30, 4), np.float32), store, 3, CPU)
    assert [path.name for path in tmp_path.glob("search*")] == [other.name]
    assert other.read_bytes() == b"of another search"


def test_a_gpu_is_searched_with_where_the_configuration_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def stub(device: torch.device, queries: Floats, passages: Embeddings, k: int, **options: Any) -> str:
        calls.append((device, k, options["memory"], options["only"] is not None))
        return "found"

    monkeypatch.setattr(SEARCH, "pick_device", torch.device)
    monkeypatch.setattr(SEARCH, "top_k_on", stub)
    store, queries = stored(tmp_path, np.ones((5, 4), np.float32)), np.ones((2, 4), np.float32)
    config = MineConfig(device="cuda:0", memory="2GB")
    assert find(queries, store, 3, config) == "found"
    assert find(queries, store, 3, config, only=np.ones(5, bool)) == "found"
    assert calls == [(torch.device("cuda:0"), 3, 2_000_000_000, False), (torch.device("cuda:0"), 3, 2_000_000_000, True)]
    require_same(find(queries, store, 3, MineConfig(device="cpu")), top_k(queries, store, 3))


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_calls_that_make_no_sense(tmp_path: Path, index: Any) -> None:
    store, queries, config = (
        stored(tmp_path, np.ones((5, 4), np.float32)),
        np.ones((3, 4), np.float32),
        MineConfig(index=index, device="cpu"),
    )
    with pytest.raises(InputError, match="only 5 passages") as caught:
        find(queries, store, 6, config)
    assert "--top-k 5" in caught.value.hint
    with pytest.raises(UsageError, match="k is 0") as caught_k:
        find(queries, store, 0, config)
    with pytest.raises(UsageError, match="passages of 4 dimensions") as caught_width:
        find(queries[:, :3], store, 1, config)
    assert all(caught.value.hint for caught in (caught_k, caught_width))
    assert find(queries[:0], store, 2, config).rows.shape == (0, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_what_is_not_finite_is_named(tmp_path: Path, value: float, index: Any) -> None:
    store, queries, config = (
        stored(tmp_path, np.ones((30, 4), np.float32)),
        np.ones((3, 4), np.float32),
        MineConfig(index=index, device="cpu"),
    )
    queries[2, 1] = value
    with pytest.raises(ScoreError, match="query row 2 is not finite") as caught:
        find(queries, store, 2, config)
    assert caught.value.hint
    spoil(store, 10, 2, value)
    with pytest.raises(ScoreError, match="passage row 10"):
        find(queries[:2], store, 2, config)
