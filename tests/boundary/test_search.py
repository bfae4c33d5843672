from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from umr._rust import Counter, merge_topk, search, write_int8_shards
from umr.errors import InputError, ScoreError, StorageError, UsageError

Floats = NDArray[np.float32]


def shard(folder: Path, name: str, values: NDArray[np.floating], head: bytes = b"") -> tuple[str, int, int]:
    path = folder / name
    path.write_bytes(head + values.tobytes())
    return str(path), len(head), len(values)


def by_sorting(queries: Floats, passages: NDArray[np.floating], k: int) -> tuple[NDArray[np.intp], Floats]:
    scores = (queries.astype(np.float64) @ passages.astype(np.float64).T).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize(("n", "d", "q"), [(1, 1, 1), (700, 33, 5), (300, 64, 40)])
def test_search_equals_sorting_everything(tmp_path: Path, dtype: str, n: int, d: int, q: int) -> None:
    random = np.random.default_rng(7)
    # Multiples of 1/8 have exact sums in any order, and they tie often.
    passages: NDArray[np.floating] = (random.integers(-8, 9, (n, d)) / 8).astype({"f32": "f4", "f16": "f2"}[dtype])
    queries = (random.integers(-8, 9, (q, d)) / 8).astype(np.float32)
    half = n // 2
    shards = [shard(tmp_path, "a", passages[:half], b"head"), shard(tmp_path, "b", passages[half:], b"x")]
    order, scores = by_sorting(queries, passages, 10)
    for threads in (0, 1, 3):
        counter = Counter()
        found = search(queries, shards, dtype, 10, threads=threads, counter=counter)  # type: ignore[arg-type]
        assert found[0].dtype == np.uint32
        assert found[0].tolist() == order.tolist()
        assert found[1].tolist() == scores.tolist()
        assert counter.value == q


def test_k_beyond_the_corpus_gives_all(tmp_path: Path) -> None:
    rows, scores = search(np.ones((2, 4), np.float32), [shard(tmp_path, "a", np.eye(3, 4, dtype=np.float32))], "f32", 9)
    assert rows.shape == scores.shape == (2, 3)
    assert search(np.ones((2, 4), np.float32), [], "f32", 9)[0].shape == (2, 0)
    assert search(np.ones((0, 4), np.float32), [shard(tmp_path, "a", np.eye(4, dtype=np.float32))], "f32", 9)[0].size == 0


def test_what_is_not_finite_is_named(tmp_path: Path) -> None:
    good = np.ones((5, 2), np.float32)
    bad = good.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ScoreError, match="passage row 3"):
        search(good, [shard(tmp_path, "a", bad)], "f32", 2)
    with pytest.raises(ScoreError, match="query row 3"):
        search(bad, [shard(tmp_path, "a", good)], "f32", 2)


def test_files_must_fit_the_dimensions(tmp_path: Path) -> None:
    made = shard(tmp_path, "a", np.ones((5, 4), np.float32))
    for queries in (np.ones((1, 2), np.float32), np.ones((1, 8), np.float32)):
        with pytest.raises(StorageError, match="80 bytes"):
            search(queries, [made], "f32", 1)
    with pytest.raises(InputError, match="no such file"):
        search(np.ones((1, 4), np.float32), [(str(tmp_path / "none"), 0, 1)], "f32", 1)


@pytest.mark.parametrize(
    ("queries", "came"),
    [
        (np.ones((1, 4)), r"float64 \[1, 4\]"),
        (np.ones(4, np.float32), r"float32 \[4\]"),
        (np.ones((4, 4), np.float32)[:, ::2], "not C-contiguous"),
        (np.asfortranarray(np.ones((4, 4), np.float32)), "not C-contiguous"),
        ([[1.0]], "got list"),
        (None, "got NoneType"),
    ],
)
def test_the_message_says_what_came(queries: object, came: str) -> None:
    with pytest.raises(UsageError, match=came) as caught:
        search(queries, [], "f32", 1)  # type: ignore[arg-type]
    assert "expected a C-contiguous float32 array of shape [Q, d]" in caught.value.message


def test_arguments_out_of_range_are_usage_errors() -> None:
    queries = np.ones((1, 4), np.float32)
    with pytest.raises(UsageError, match="k: expected at least 1"):
        search(queries, [], "f32", 0)
    with pytest.raises(UsageError, match="dtype"):
        search(queries, [], "f64", 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="dimension"):
        search(np.ones((1, 0), np.float32), [], "f32", 1)


def test_merging_parts_equals_searching_the_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    passages = random.standard_normal((90, 16), dtype=np.float32)
    queries = random.standard_normal((4, 16), dtype=np.float32)
    whole = search(queries, [shard(tmp_path, "whole", passages)], "f32", 7)
    parts = [search(queries, [shard(tmp_path, f"{at}", passages[at : at + 30])], "f32", 7) for at in (0, 30, 60)]
    rows = np.stack([part[0] + np.uint32(30 * at) for at, part in enumerate(parts)])
    scores = np.stack([part[1] for part in parts])
    merged = merge_topk(rows, scores, 7)
    assert merged[0].tolist() == whole[0].tolist()
    assert merged[1].tolist() == whole[1].tolist()


def test_merging_keeps_a_repeated_row_once_and_skips_padding() -> None:
    none = 2**32 - 1
    rows = np.array([[[4, 2]], [[4, none]]], dtype=np.uint32)
    scores = np.array([[[1.0, 3.0]], [[5.0, np.nan]]], dtype=np.float32)
    merged = merge_topk(rows, scores, 5)
    assert (merged[0].tolist(), merged[1].tolist()) == ([[4, 2]], [[5.0, 3.0]])
    with pytest.raises(ScoreError, match="passage row 4"):
        merge_topk(rows, np.full_like(scores, np.nan), 5)
    with pytest.raises(UsageError, match="differ in shape"):
        merge_topk(rows, scores[:1], 5)


def rows_of(n: int, d: int, seed: int = 5) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32) + np.float32(0.7)


def test_int8_shards_masks_memory_and_threads_change_no_byte(tmp_path: Path) -> None:
    passages, queries = rows_of(900, 40), rows_of(70, 40, 6)
    shards = [shard(tmp_path, "a", passages[:333]), shard(tmp_path, "b", passages[333:])]
    int8_shards = [str(tmp_path / "a.int8"), str(tmp_path / "b.int8")]
    counter = Counter()
    write_int8_shards(shards, "f32", 40, int8_shards, counter=counter)
    assert counter.value == 900
    plain = search(queries, shards, "f32", 9)
    for options in ({"threads": 1}, {"threads": 3}, {"memory": 1}, {"checkpoint_seconds": 0.0, "checkpoint": str(tmp_path / "state")}):
        found = search(queries, shards, "f32", 9, int8_shards=int8_shards, **options)  # type: ignore[arg-type]
        assert found[0].tobytes() == plain[0].tobytes()
        assert found[1].tobytes() == plain[1].tobytes()
    assert not (tmp_path / "state").exists()
    only = np.arange(900) % 4 == 1
    some = search(queries, shards, "f32", 9, int8_shards=int8_shards, only=only.view(np.uint8))
    kept = search(queries, [shard(tmp_path, "kept", passages[only])], "f32", 9)
    assert np.array_equal(some[0], np.flatnonzero(only)[kept[0]])
    assert some[1].tobytes() == kept[1].tobytes()


def test_a_mask_that_leaves_less_than_k_gives_shorter_lists(tmp_path: Path) -> None:
    made = [shard(tmp_path, "a", rows_of(50, 8))]
    only = np.zeros(50, dtype=np.uint8)
    only[[7, 30]] = 1
    rows, scores = search(rows_of(3, 8, 9), made, "f32", 5, only=only)
    assert rows.shape == scores.shape == (3, 2)
    assert (np.sort(rows, axis=1) == [7, 30]).all()
    assert search(rows_of(3, 8, 9), made, "f32", 5, only=np.zeros(50, dtype=np.uint8))[0].shape == (3, 0)
    with pytest.raises(UsageError, match="3 marks for 50 passages"):
        search(rows_of(3, 8, 9), made, "f32", 5, only=np.ones(3, dtype=np.uint8))


def test_int8_shards_are_refused_where_they_cannot_be(tmp_path: Path) -> None:
    made = [shard(tmp_path, "a", rows_of(50, 8))]
    with pytest.raises(UsageError, match="2 paths for 1 shards"):
        write_int8_shards(made, "f32", 8, ["x", "y"])
    with pytest.raises(UsageError, match="2 paths for 1 shards"):
        search(rows_of(3, 8), made, "f32", 5, int8_shards=["x", "y"])
    spoiled = rows_of(50, 8)
    spoiled[31, 2] = np.inf
    with pytest.raises(ScoreError, match="passage row 31"):
        write_int8_shards([shard(tmp_path, "b", spoiled)], "f32", 8, [str(tmp_path / "b.int8")])
    assert not list(tmp_path.glob("b.int8*"))
    write_int8_shards(made, "f32", 8, [str(tmp_path / "a.int8")])
    whole = (tmp_path / "a.int8").read_bytes()
    (tmp_path / "a.int8").write_bytes(whole[:-8])
    exact = search(rows_of(30, 8), made, "f32", 5)
    assert search(rows_of(30, 8), made, "f32", 5, int8_shards=[str(tmp_path / "a.int8")])[1].tobytes() == exact[1].tobytes()
    write_int8_shards(made, "f32", 8, [str(tmp_path / "a.int8")])
    assert (tmp_path / "a.int8").read_bytes() == whole
