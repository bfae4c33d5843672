"""A search that ranks share gives the rows and bits of one process, whoever searched which shard; its files are gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.scoring import top
from search.rig import Floats, kept, require_same, tasks
from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.progress import Silent
from umr.search import find, share_search
from umr.search.gpu import top_k_on
from umr.work.ranks import Claims, Ranks

stage: Any = import_module("umr.search")


def shared(queries: Floats, store: Embeddings, k: int, only: Any, folder: Path, ranks: int, config: MineConfig) -> None:
    """All ranks at once, each in a thread with a store of its own."""

    def one(rank: int) -> None:
        own = Embeddings(store.folder, store.made_from, store.rows, store.dimensions, store.dtype, store.shard_rows)
        share_search(queries, own, k, config, Claims(folder, Ranks(rank, ranks, waits=False)), Silent(), only)

    with ThreadPoolExecutor(ranks) as threads:
        list(threads.map(one, range(ranks)))


@settings(deadline=None, max_examples=60)
@given(tasks(), st.integers(1, 12), st.sampled_from([None, 0.0, 0.3, 1.0]), st.integers(1, 3), st.booleans())
def test_the_lists_are_those_of_one_process(
    task: tuple[Floats, Floats, int], shard_rows: int, share: float | None, ranks: int, gpu: bool
) -> None:
    queries, passages, k = task
    only = None if share is None else np.random.default_rng(0).random(len(passages)) < share
    with kept(passages, shard_rows=shard_rows) as store, tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if gpu:
            patch.setattr(stage, "pick_device", lambda _: torch.device("cuda"))
            patch.setattr(stage, "top_k_on", lambda _, *task, **options: top_k_on(torch.device("cpu"), *task, **options))
        config = MineConfig(device="cpu", threads=1)
        shared(queries, store, k, only, Path(folder), ranks, config)
        patch.setattr(stage, "top_k", None)  # nothing is searched again
        found = find(queries, store, k, config, only=only) if len(queries) > 1 else None
        assert not found or not list(store.folder.glob("*.shared"))
    if found:
        expected = top(queries.tolist(), passages.tolist(), k, None if only is None else only.tolist())
        empty = ~queries.any(axis=1)
        for row in np.flatnonzero(~empty):
            require_same((found[0][row], found[1][row]), (expected[0][row], expected[1][row]))


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-40]), lambda path: path.write_bytes(b"")])
def test_a_part_that_is_missing_or_damaged_is_searched_again_and_no_other(
    spoil: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, passages = (np.random.default_rng(seed).standard_normal((30, 8)).astype(np.float32) for seed in (0, 1))
    with kept(passages, shard_rows=7) as store, tempfile.TemporaryDirectory() as folder:
        shared(queries, store, 5, None, Path(folder), 2, MineConfig(device="cpu"))
        parts = sorted(store.folder.glob("*.shared/*.npz"))
        assert len(parts) == store.shards == 5
        spoil(parts[2])
        searched, real = list[Any](), stage.top_k
        monkeypatch.setattr(stage, "top_k", lambda *task, **options: searched.append(options["shard"]) or real(*task, **options))
        alone = find(queries, store, 5, MineConfig(device="cpu"))
        assert not list(store.folder.glob("*.shared"))
    assert searched == [2]
    require_same(alone, top(queries.tolist(), passages.tolist(), 5))
