"""The graph of the approximate index: how vectors enter it, and files that are whole and of the embeddings or refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usearch.index import Index

from search.rig import Floats, stored, unit
from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.errors import MismatchError, StorageError
from umr.layout import near_index
from umr.search import find, graph
from umr.search.equal_vectors import equal_pairs, hashes, with_equal
from umr.search.exact import top_k
from umr.search.space import space_for

NEAR = MineConfig(index="hnsw", device="cpu", threads=2)


def test_lengths_that_differ_add_a_dimension(tmp_path: Path) -> None:
    """A long passage is the best for many queries, though it is nearest to none."""
    rng = np.random.default_rng(3)
    passages = (unit(rng, 2000) * rng.uniform(0.5, 3, (2000, 1))).astype(np.float32)
    store, queries = stored(tmp_path, passages, shard_rows=900), unit(rng, 100)
    found, exact = find(queries, store, 10, NEAR), top_k(queries, store, 10)
    manifest = json.loads((near_index(store.folder) / "manifest.json").read_text())
    assert manifest["augmented"]
    assert manifest["largest"] == pytest.approx(9, rel=0.01)
    assert np.mean(found[1] >= exact[1][:, -1:]) > 0.9


def test_codes_of_8_bits_are_taken_only_where_they_keep_the_order() -> None:
    rng = np.random.default_rng(4)
    sample, queries = unit(rng, 500), unit(rng, 50)
    assert space_for(sample, queries, 1.0, 1.0, 10).kind == "i8"
    sample = np.concatenate([sample, np.zeros_like(sample)], axis=1)
    sample[:, 30] = np.where(rng.random(500) < 0.1, 1000, 0)  # leaves the codes nothing for the rest
    queries = np.concatenate([queries, np.zeros_like(queries)], axis=1)
    assert space_for(sample, queries, 1.0, 1e6, 10).kind == "bf16"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.booleans(), st.integers(1, 4))
def test_equal_vectors(kinds: list[int], colliding: bool, most: int) -> None:
    vectors = np.array([[kind, -kind, 0] for kind in kinds], dtype=np.float32)
    vectors[::2] *= np.float32([1, 1, -1])  # negative zeros are zeros
    found = np.zeros(len(kinds), dtype=np.uint64) if colliding else hashes(vectors)
    first = {kind: kinds.index(kind) for kind in kinds}
    expected = sorted([first[kind], row] for row, kind in enumerate(kinds) if row != first[kind])
    if colliding:
        expected = [pair for pair in expected if pair[0] == 0]
    with tempfile.TemporaryDirectory() as folder:
        pairs = equal_pairs(stored(Path(folder), vectors), found)
    assert pairs.tolist() == expected
    alone = np.array(sorted(set(range(len(kinds))) - {row for _, row in expected}), dtype=np.uint32)
    of, rows = with_equal(pairs, alone, most)
    wanted = [(int(row), int(row)) for row in alone]
    wanted += [pair for row in alone for pair in [(int(row), later) for begin, later in expected if begin == row][:most]]
    assert [(int(alone[at]), int(row)) for at, row in zip(of, rows, strict=True)] == wanted


def test_the_index_of_other_embeddings_is_refused(store: Embeddings, queries: Floats, tmp_path_factory: pytest.TempPathFactory) -> None:
    find(queries, store, 5, NEAR)
    other = stored(tmp_path_factory.mktemp("other"), unit(np.random.default_rng(9), 3000), shard_rows=1024)
    near_index(store.folder).rename(near_index(other.folder))
    with pytest.raises(MismatchError, match="the index was made otherwise: embeddings is") as caught:
        find(queries, other, 5, NEAR)
    assert "remove the folder" in caught.value.hint


@pytest.mark.parametrize("name", graph.FILES)
def test_a_damaged_index_is_refused(store: Embeddings, queries: Floats, name: str) -> None:
    find(queries, store, 5, NEAR)
    path = near_index(store.folder) / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(MismatchError, match=f"{name} has changed"):
        find(queries, store, 5, NEAR)
    path.unlink()
    with pytest.raises(MismatchError, match=f"{name} is gone"):
        find(queries, store, 5, NEAR)


def test_a_file_that_usearch_cannot_open_is_refused(store: Embeddings, queries: Floats) -> None:
    find(queries, store, 5, NEAR)
    path = near_index(store.folder) / "index.usearch"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(MismatchError, match=r"index\.usearch has changed"):
        find(queries, store, 5, NEAR)


def test_an_interrupted_build_leaves_nothing_and_is_done_again(store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "save", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        find(queries, store, 5, NEAR)
    assert not [path for path in store.folder.iterdir() if "hnsw" in path.name]
    monkeypatch.undo()
    find(queries, store, 5, NEAR)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


BUILD = """
import sys, time
import numpy as np
from pathlib import Path
from usearch.index import Index
from umr.data.embeddings import Embeddings
from umr.progress import Silent
from umr.search.graph import build_graph
store = Embeddings(Path(sys.argv[1]), {}, 3000, 24, "f32", 1024)
save = Index.save
def slow(index, path):
    save(index, path)
    print("written", flush=True)
    time.sleep(60)
Index.save = slow
build_graph(store, np.ones((1, 24), np.float32), 5, 1, Silent())
"""


def test_a_build_that_was_killed_is_done_again(store: Embeddings, queries: Floats) -> None:
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(store.folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not near_index(store.folder).exists()
    assert graph.open_graph(store) is None
    found = find(queries, store, 5, NEAR)
    assert np.mean(found[1] >= top_k(queries, store, 5)[1][:, -1:]) > 0.9


def test_a_full_disk_is_said(store: Embeddings, queries: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("Failed to write")

    monkeypatch.setattr(Index, "save", full)
    with pytest.raises(StorageError, match="Failed to write"):
        find(queries, store, 5, NEAR)
    assert not near_index(store.folder).exists()
