"""One table out of many segments: equal to a loop over a dict, whatever threads, memory and place of the result."""

from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference import merging as twin
from umr._rust import ScoreLog
from umr.data.merging import NO_PASSAGE, distinct_passages, merge
from umr.data.scores import open_scores
from umr.errors import FormatError, InputError, UsageError

Keys = NDArray[np.uint64]


def keys(numbers: Any) -> Keys:
    words = np.asarray(numbers, dtype=np.uint64).reshape(-1)
    return np.stack([words, words // 2], axis=1)


def segment(path: Path, records: list[tuple[int, int, int]], cut: int = 0) -> str:
    table = np.array(records, dtype=np.int64).reshape(-1, 3)
    log = ScoreLog.create(str(path))
    log.append(keys(table[:, 0]), keys(table[:, 1]), table[:, 2].astype(np.float32))
    log.close()
    path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - cut)])
    return str(path)


def expect(stores: list[list[str]], queries: Keys, passages: Keys, rows: NDArray[np.uint32], **options: Any) -> None:
    """`merge` and its twin agree to the last bit."""
    pairs = [[(int(a), int(b)) for a, b in side] for side in (queries, passages)]
    expected = [twin.merge(store, pairs[0], pairs[1], rows.tolist()) for store in stores]
    merged = merge(stores, queries, passages, rows, **options)
    assert merged.scores.shape == (len(stores), *rows.shape)
    assert merged.counts == [counts for _, counts, _ in expected]
    assert merged.torn == [path for _, _, torn in expected for path in torn]
    for found, (scores, _, _) in zip(merged.scores, expected, strict=True):
        assert found.tobytes() == np.array(scores, dtype=np.float32).reshape(rows.shape).tobytes()


RECORD = st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(-2, 2))
SEGMENT = st.tuples(st.lists(RECORD, max_size=30), st.sampled_from([0, 0, 0, 1, 39, 40, 41, 90, 10_000]))


@settings(deadline=None, max_examples=60)
@given(
    stores=st.lists(st.lists(SEGMENT, max_size=4), max_size=3),
    queries=st.lists(st.integers(0, 7), max_size=9),
    passages=st.lists(st.integers(0, 11), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(0, 7),
    memory=st.none() | st.integers(1, 300),
)
def test_merging_equals_a_loop_over_a_dict(
    stores: list[list[tuple[list[tuple[int, int, int]], int]]],
    queries: list[int],
    passages: list[int],
    seed: int,
    k: int,
    memory: int | None,
) -> None:
    drawn = np.random.default_rng(seed).integers(0, len(passages) + 1, size=(len(queries), k), dtype=np.uint32)
    rows = np.where(drawn == len(passages), np.uint32(NO_PASSAGE), drawn)
    with tempfile.TemporaryDirectory() as name:
        paths = [[segment(Path(name) / f"{m}-{s}", *one) for s, one in enumerate(store)] for m, store in enumerate(stores)]
        for threads in (1, 2):
            expect(paths, keys(queries), keys(passages), rows, memory=memory, threads=threads)
        expect(paths, keys(queries), keys(passages), rows, memory=memory, out=Path(name) / "scores.npy")


def large(folder: Path) -> tuple[list[str], Keys, Keys, NDArray[np.uint32]]:
    """Three segments of several parts each; the second is damaged within its second part."""
    rng = np.random.default_rng(7)
    records = rng.integers(0, [40, 900, 3], size=(60_000, 3))
    paths = [segment(folder / f"s{n}", part.tolist()) for n, part in enumerate(np.split(records, 3))]
    damaged = bytearray(Path(paths[1]).read_bytes())
    damaged[32 + 40 * 17_000 + 5] ^= 1
    Path(paths[1]).write_bytes(damaged)
    rows = rng.integers(0, 1000, size=(45, 50), dtype=np.uint32)
    return paths, keys(np.arange(45)), keys(np.arange(1000)), rows


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 2}, {"memory": 3000}])
def test_segments_of_many_parts(tmp_path: Path, options: dict[str, int]) -> None:
    paths, queries, passages, rows = large(tmp_path)
    expect([paths], queries, passages, rows, **options)
    expect([paths[::-1], [], paths[:1]], queries, passages, rows, **options)


def test_very_wide_rows(tmp_path: Path) -> None:
    paths, queries, passages, _ = large(tmp_path)
    rows = np.random.default_rng(8).integers(0, 1000, size=(45, 1500), dtype=np.uint32)
    expect([paths], queries, passages, rows)


def test_the_first_segment_in_the_order_given_wins(tmp_path: Path) -> None:
    a, b = segment(tmp_path / "a", [(1, 1, 5)]), segment(tmp_path / "b", [(1, 1, 6), (1, 2, 7)])
    rows = np.array([[0, 1, NO_PASSAGE]], dtype=np.uint32)
    merged = merge([[a, b], [b, a], [a]], keys([1]), keys([1, 2]), rows)
    expected = [[[5, 7, np.nan]], [[6, 7, np.nan]], [[5, np.nan, np.nan]]]
    assert np.array_equal(merged.scores, np.array(expected, np.float32), equal_nan=True)
    assert [counts["conflicts"] for counts in merged.counts] == [1, 1, 0]


def test_a_record_without_a_finite_score_holds_none(tmp_path: Path) -> None:
    first, second = Path(segment(tmp_path / "a", [(1, 1, 5), (1, 2, 6)])), segment(tmp_path / "b", [(1, 1, 7), (1, 2, 6)])
    content = bytearray(first.read_bytes())
    for start, strange in ((32, np.nan), (72, -np.inf)):
        content[start + 32 : start + 36] = struct.pack("<f", strange)
        content[start + 36 : start + 40] = struct.pack("<I", zlib.crc32(content[start : start + 36]))
    first.write_bytes(content)
    rows = np.array([[0, 1]], dtype=np.uint32)
    expect([[str(first), second], [second, str(first)], [str(first)]], keys([1]), keys([1, 2]), rows)
    merged = merge([[str(first), second]], keys([1]), keys([1, 2]), rows)
    assert merged.scores.tolist() == [[[7, 6]]]
    assert merged.counts == [{"records": 4, "torn": 0, "duplicates": 0, "conflicts": 0}]


def test_no_memory_is_refused() -> None:
    for memory in (0, -1):
        with pytest.raises(UsageError, match="at least 1 byte"):
            merge([], keys([]), keys([]), np.zeros((0, 1), np.uint32), memory=memory)


def test_a_failed_merge_leaves_no_file(tmp_path: Path) -> None:
    whole = segment(tmp_path / "a", [(1, 1, 5)])
    other = tmp_path / "other"
    other.write_text("no scores, but as long as the header of a segment")
    rows, out = np.zeros((1, 1), dtype=np.uint32), tmp_path / "out" / "scores.npy"
    for store, error in (([whole, str(other)], FormatError), ([whole, str(tmp_path / "none")], InputError)):
        with pytest.raises(error):
            merge([[whole], store], keys([1]), keys([1]), rows, out=out)
    with pytest.raises(UsageError, match="row 5 of 1 passages"):
        merge([[whole]], keys([1]), keys([1]), rows + np.uint32(5), out=out)
    assert not list(out.parent.glob("*"))


def test_a_store_gives_a_table(tmp_path: Path) -> None:
    store = open_scores(tmp_path, {"lm": "abc"})
    with store.appending() as log:
        log.append(keys([1, 2]), keys([8, 9]), np.array([-1, -2], dtype=np.float32))
    scores, counts = store.table(keys([2, 1]), keys([9, 8]), np.array([[0, 1], [1, 0]], dtype=np.uint32))
    assert np.array_equal(scores, np.array([[-2, np.nan], [-1, np.nan]], np.float32), equal_nan=True)
    assert counts == {"records": 2, "torn": 0, "duplicates": 0, "conflicts": 0}


@given(st.lists(st.lists(st.integers(0, 9) | st.just(NO_PASSAGE), min_size=3, max_size=3), max_size=6))
def test_distinct_passages_lead_back_to_the_rows(listed: list[list[int]]) -> None:
    rows = np.array(listed, dtype=np.uint32).reshape(-1, 3)
    passages, places = distinct_passages(rows, 10)
    assert passages.tolist() == sorted({row for own in listed for row in own} - {NO_PASSAGE})
    assert places.dtype == np.uint32
    back = np.append(passages, np.uint32(NO_PASSAGE))[np.minimum(places, len(passages))]
    assert np.array_equal(back, rows)


def test_a_row_beyond_the_corpus_is_refused() -> None:
    with pytest.raises(UsageError, match="row 10 of 10 passages"):
        distinct_passages(np.array([[3, 10]], dtype=np.uint32), 10)
