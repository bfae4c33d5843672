"""Embeddings on disk: every row in exactly one shard, whatever the sizes; a damaged shard is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference import search as slow
from umr._rust import search
from umr.data.embeddings import Embeddings
from umr.errors import FormatError, UmrError


def filled(folder: Path, rows: int, shard_rows: int, dtype: Any = "f32", dimensions: int = 8) -> tuple[Embeddings, NDArray[np.float32]]:
    """A store written shard by shard, not finished, and what was written."""
    folder.mkdir(exist_ok=True)
    store = Embeddings(folder, {"weights": "w"}, rows, dimensions, dtype, shard_rows)
    vectors = np.random.default_rng(rows).normal(size=(rows, dimensions)).astype(np.float32)
    for shard in range(store.shards):
        first, end = store.span(shard)
        store.write(shard, vectors[first:end])
    return store, vectors


@given(st.integers(1, 10_000), st.integers(1, 12_000))
def test_every_row_is_in_exactly_one_shard(rows: int, shard_rows: int) -> None:
    store = Embeddings(Path("nowhere"), {}, rows, 4, "f32", shard_rows)
    covered = [row for shard in range(store.shards) for row in range(*store.span(shard))]
    assert covered == list(range(rows))
    assert all(store.span(s)[0] < store.span(s)[1] for s in range(store.shards))


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize(("rows", "shard_rows"), [(1, 1), (1, 100), (7, 1), (10, 3), (9, 3), (11, 10), (10, 11), (97, 32)])
def test_vectors_come_back_and_are_found_by_the_search(tmp_path: Path, rows: int, shard_rows: int, dtype: Any) -> None:
    store, vectors = filled(tmp_path, rows, shard_rows, dtype)
    assert not store.complete
    store.finish()
    assert store.complete
    expected = vectors if dtype == "f32" else vectors.astype(np.float16).astype(np.float32)
    assert store.read().tobytes() == expected.tobytes()
    some = np.random.default_rng(0).permutation(rows)[: max(1, rows // 2)].astype(np.uint32)
    assert store.read(some).tobytes() == expected[some].tobytes()
    assert sum(count for _, _, count in store.mapped()) == rows
    found, scores = search(vectors[:2], store.mapped(), dtype, 5)
    wanted_rows, wanted_scores = slow.search(vectors[:2].tolist(), expected.tolist(), 5)
    assert found.tolist() == wanted_rows
    assert scores.tolist() == wanted_scores


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "only a header": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not vectors"),
    "missing": lambda path: path.unlink(),
    "pickled": lambda path: np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True),
    "a row less": lambda path: np.save(path, np.zeros((3, 8), dtype=np.float32)),
    "another width": lambda path: np.save(path, np.zeros((4, 9), dtype=np.float32)),
    "another type": lambda path: np.save(path, np.zeros((4, 8), dtype=np.float16)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    store, vectors = filled(tmp_path, 10, 4)
    DAMAGES[damage](store.path(1))
    for use in (store.finish, store.read, store.mapped):
        with pytest.raises(FormatError) as caught:
            use()
        assert str(store.path(1)) in caught.value.message
        assert "run the stage again" in caught.value.hint
    assert not store.complete
    assert store.read(np.array([0, 9], dtype=np.uint32)).tobytes() == vectors[[0, 9]].tobytes()  # the others can be used


def test_a_manifest_of_other_rows_does_not_complete_the_store(tmp_path: Path) -> None:
    store, _ = filled(tmp_path, 10, 4)
    store.finish()
    assert not Embeddings(tmp_path, {}, 11, 8, "f32", 4).complete
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UmrError, match=r"manifest\.json"):
        _ = store.complete


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, vectors = filled(tmp_path, 4, 4)
    store.path(0).unlink()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UmrError, match="no space left"):
        store.write(0, vectors)
    assert list(tmp_path.iterdir()) == []
    assert not store.finished(0)
