"""Exact search on the processor: memory that is kept within, and int8 shards that may be missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from search.rig import stored, unit
from train.rig import Notes
from umr.data.embeddings import Embeddings
from umr.errors import UsageError
from umr.search.exact import top_k


@pytest.fixture
def store(tmp_path: Path) -> Embeddings:
    return stored(tmp_path, unit(np.random.default_rng(0), 13, 32), shard_rows=5)


def test_memory_that_does_not_hold_queries_and_results_is_refused(store: Embeddings) -> None:
    queries = np.ones((30, 32), dtype=np.float32)
    with pytest.raises(UsageError, match=r"memory is 0\.0 MB") as caught:
        top_k(queries, store, 3, memory=1000)
    assert "memory to 17MB or more" in caught.value.hint
    rows, _ = top_k(queries, store, 3, memory=20_000_000)
    assert np.array_equal(rows, top_k(queries, store, 3)[0])


def test_a_full_disk_leaves_the_search_without_int8_shards(store: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, notes = np.ones((30, 32), dtype=np.float32), Notes()
    full = shutil.disk_usage(store.folder)._replace(free=1_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: full)
        without = top_k(queries, store, 3, reporter=notes)
    assert "no int8 shards" in notes.warned[0]
    assert not list(store.folder.glob("*.int8"))
    assert top_k(queries, store, 3)[0].tobytes() == without[0].tobytes()
    assert len(list(store.folder.glob("*.int8"))) == store.shards


def test_few_queries_make_no_int8_shards(store: Embeddings) -> None:
    top_k(np.ones((2, 32), dtype=np.float32), store, 3)
    assert not list(store.folder.glob("*.int8"))


def test_lists_that_some_passages_do_not_fill_are_padded(store: Embeddings) -> None:
    rows, scores = top_k(np.ones((2, 32), dtype=np.float32), store, 4, only=np.arange(13) == 7)
    assert rows.tolist() == [[7] + [2**32 - 1] * 3] * 2
    assert np.isneginf(scores[:, 1:]).all()
