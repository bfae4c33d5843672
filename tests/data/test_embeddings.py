"""Embeddings on disk: every row in exactly one shard, whatever the sizes; a damaged shard is named."""

from __future__ import annotations

import contextlib
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
from umr.data import embeddings
from umr.data.embeddings import Cut, Embeddings, whole
from umr.errors import MismatchError, UmrError
from umr.progress import Silent


def filled(folder: Path, rows: int, shard_rows: int, dtype: Any = "f32", dimensions: int = 8) -> tuple[Embeddings, NDArray[np.float32]]:
    """A finished store, and what was written."""
    folder.mkdir(exist_ok=True)
    store = Embeddings(folder, {"weights": "w"}, rows, dimensions, dtype, shard_rows)
    vectors = np.random.default_rng(rows).normal(size=(rows, dimensions)).astype(np.float32)
    fill(store, vectors)
    return store, vectors


def fill(store: Embeddings, vectors: NDArray[np.float32], cut: Cut = whole, stop: int | None = None) -> list[int]:
    """Fill a store, or break off before so many calls; the rows that were asked for."""
    asked: list[int] = []
    calls = iter(range(stop or 10**6))

    def make(rows: NDArray[np.uint32]) -> NDArray[np.float32]:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        asked.extend(rows.tolist())
        return vectors[rows]

    with contextlib.suppress(KeyboardInterrupt), Silent().bar("", len(vectors), "") as bar:
        store.fill(make, bar, cut)
    return asked


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
    for use in (store.read, store.mapped):
        with pytest.raises(MismatchError) as caught:
            use()
        assert str(store.path(1)) in caught.value.message
        assert "run the stage again" in caught.value.hint
    assert store.read(np.array([0, 9], dtype=np.uint32)).tobytes() == vectors[[0, 9]].tobytes()  # the others can be used


def test_a_flipped_bit_is_no_vector(tmp_path: Path) -> None:
    store, vectors = filled(tmp_path, 10, 4)
    content = bytearray(store.path(2).read_bytes())
    content[-3] ^= 1
    store.path(2).write_bytes(content)
    with pytest.raises(MismatchError, match=r"shard-00002\.npy has changed since it was written"):
        store.read(np.array([9], dtype=np.uint32))
    with pytest.raises(MismatchError, match=r"shard-00002\.npy has changed since it was written"):
        fill(store, vectors)


def test_a_removed_shard_alone_is_made_again(tmp_path: Path) -> None:
    store, vectors = filled(tmp_path, 10, 4)
    store.path(1).unlink()
    assert not store.complete
    assert fill(store, vectors) == [4, 5, 6, 7]
    assert store.read().tobytes() == vectors.tobytes()


@pytest.fixture
def every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is put on disk as soon as it is made."""
    monkeypatch.setattr(embeddings, "KEEP_SECONDS", 0.0)


@pytest.mark.parametrize("stop", range(5))
@pytest.mark.usefixtures("every_piece")
def test_a_store_that_was_broken_off_goes_on_with_the_next_piece(tmp_path: Path, stop: int) -> None:
    """Two shards, in three pieces and two."""
    rows, cut = np.random.default_rng(0).normal(size=(13, 8)).astype(np.float32), lambda first, end: range(first, end, 3)
    store = Embeddings(tmp_path, {}, 13, 8, "f16", 7)
    done = fill(store, rows, cut, stop) if stop else []
    assert not store.complete
    assert Embeddings.progress(store.manifest) == (len(done), 13) if done else not store.manifest.exists()
    assert done + fill(store, rows, cut) == list(range(13)), "what is made is never made again"
    assert Embeddings.progress(store.manifest) == (13, 13)
    (tmp_path / "whole").mkdir()
    one = Embeddings(tmp_path / "whole", {}, 13, 8, "f16", 7)
    fill(one, rows)
    for shard in range(2):
        assert store.path(shard).read_bytes() == one.path(shard).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["manifest.json", "shard-00000.npy", "shard-00001.npy"]


def test_pieces_that_are_made_quickly_are_not_put_on_disk(tmp_path: Path) -> None:
    rows = np.ones((6, 8), dtype=np.float32)
    store = Embeddings(tmp_path, {}, 6, 8, "f32", 6)
    fill(store, rows, lambda first, end: range(first, end, 2), 2)
    assert not list(tmp_path.iterdir())
    assert fill(store, rows) == list(range(6))


@pytest.mark.usefixtures("every_piece")
def test_a_damaged_piece_is_made_again(tmp_path: Path) -> None:
    rows, cut = np.ones((6, 8), dtype=np.float32), lambda first, end: range(first, end, 2)
    store = Embeddings(tmp_path, {}, 6, 8, "f32", 6)
    fill(store, rows, cut, 2)
    piece = tmp_path / "piece-2-4.npy"
    content = bytearray(piece.read_bytes())
    content[-1] ^= 4
    piece.write_bytes(content)
    assert fill(store, rows, cut) == [2, 3, 4, 5]
    assert store.read().tobytes() == rows.tobytes()


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 10, 4)
    with pytest.raises(MismatchError, match="weights is 'w', asked for 'other'"):
        _ = Embeddings(tmp_path, {"weights": "other"}, 10, 8, "f32", 4).complete
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UmrError, match=r"manifest\.json"):
        _ = Embeddings(tmp_path, {"weights": "w"}, 10, 8, "f32", 4).complete


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UmrError, match="no space left"):
        filled(tmp_path, 4, 4)
    assert list(tmp_path.iterdir()) == []
