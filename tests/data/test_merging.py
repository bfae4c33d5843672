"""The scores of several stores in one table: equal to a loop over a dict."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny
from reference import merging as twin
from umr import _rust
from umr._rust import ScoreLog
from umr.data.candidates import PADDING
from umr.data.scores import ScoreStore, merge_stores, open_scores
from umr.errors import UsageError

Keys = NDArray[np.uint64]
STORE = "a store"


def keys(numbers: Any) -> Keys:
    words = np.asarray(numbers, dtype=np.uint64).reshape(-1)
    return np.stack([words, words // 2], axis=1)


def segment(path: Path, records: list[tuple[int, int, int]], cut: int = 0) -> str:
    table = np.array(records, dtype=np.int64).reshape(-1, 3)
    log = ScoreLog.create(str(path), STORE)
    log.append(keys(table[:, 0]), keys(table[:, 1]), table[:, 2].astype(np.float32))
    log.close()
    path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - cut)])
    return str(path)


def expect(stores: list[list[str]], queries: Keys, passages: Keys, rows: NDArray[np.uint32], damaged: Sequence[str] = ()) -> None:
    """Merging and its twin agree to the last bit; each of the damaged segments lacks a record, and is named."""
    pairs = [[(int(a), int(b)) for a, b in side] for side in (queries, passages)]
    expected = [twin.merge(store, pairs[0], pairs[1], rows.tolist()) for store in stores]
    merged, found_counts, flaws = _rust.merge_stores([(STORE, store) for store in stores], queries, passages, rows)
    assert flaws == [[(Path(path), 1) for path in store if path in damaged] for store in stores]
    assert merged.shape == (len(stores), *rows.shape)
    assert found_counts == [counts for _, counts in expected]
    for found, (scores, _) in zip(merged, expected, strict=True):
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
)
def test_merging_equals_a_loop_over_a_dict(
    stores: list[list[tuple[list[tuple[int, int, int]], int]]],
    queries: list[int],
    passages: list[int],
    seed: int,
    k: int,
) -> None:
    drawn = np.random.default_rng(seed).integers(0, len(passages) + 1, size=(len(queries), k), dtype=np.uint32)
    rows = np.where(drawn == len(passages), np.uint32(PADDING), drawn)
    with tempfile.TemporaryDirectory() as name:
        paths = [[segment(Path(name) / f"{m}-{s}", *one) for s, one in enumerate(store)] for m, store in enumerate(stores)]
        expect(paths, keys(queries), keys(passages), rows)


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


def test_segments_of_many_parts(tmp_path: Path) -> None:
    paths, queries, passages, rows = large(tmp_path)
    expect([paths], queries, passages, rows, paths[1:2])
    expect([paths[::-1], [], paths[:1]], queries, passages, rows, paths[1:2])


def test_very_wide_rows(tmp_path: Path) -> None:
    paths, queries, passages, _ = large(tmp_path)
    rows = np.random.default_rng(8).integers(0, 1000, size=(45, 1500), dtype=np.uint32)
    expect([paths], queries, passages, rows, paths[1:2])


def test_the_first_segment_in_the_order_given_wins(tmp_path: Path) -> None:
    a, b = segment(tmp_path / "a", [(1, 1, 5)]), segment(tmp_path / "b", [(1, 1, 6), (1, 2, 7)])
    rows = np.array([[0, 1, PADDING]], dtype=np.uint32)
    scores, counts, _ = _rust.merge_stores([(STORE, paths) for paths in ([a, b], [b, a], [a])], keys([1]), keys([1, 2]), rows)
    expected = [[[5, 7, np.nan]], [[6, 7, np.nan]], [[5, np.nan, np.nan]]]
    assert np.array_equal(scores, np.array(expected, np.float32), equal_nan=True)
    assert [count["conflicts"] for count in counts] == [1, 1, 0]


def test_a_record_without_a_finite_score_holds_none(tmp_path: Path) -> None:
    first, second = Path(segment(tmp_path / "a", [(1, 1, 5), (1, 2, 6)])), segment(tmp_path / "b", [(1, 1, 7), (1, 2, 6)])
    content = bytearray(first.read_bytes())
    for start, strange in ((32, np.nan), (72, -np.inf)):
        content[start + 32 : start + 36] = struct.pack("<f", strange)
        content[start + 36 : start + 40] = struct.pack("<I", zlib.crc32(content[start : start + 36]))
    first.write_bytes(content)
    rows = np.array([[0, 1]], dtype=np.uint32)
    expect([[str(first), second], [second, str(first)], [str(first)]], keys([1]), keys([1, 2]), rows)
    scores, counts, _ = _rust.merge_stores([(STORE, [str(first), second])], keys([1]), keys([1, 2]), rows)
    assert scores.tolist() == [[[7, 6]]]
    assert counts == [{"records": 4, "torn": 0, "duplicates": 0, "conflicts": 0}]


def test_what_is_refused(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, STORE)
    segment(tmp_path / "a.scores", [(1, 1, 5)])
    rows = np.zeros((1, 1), dtype=np.uint32)
    with pytest.raises(UsageError, match="row 5 of 1 passages"):
        merge_stores([store], keys([1]), keys([1]), rows + np.uint32(5))
    other, talk = tmp_path / "b.scores", tiny.Talk()
    other.write_text("no scores, but as long as the header of a segment")
    scores, _ = merge_stores([store], keys([1]), keys([1]), rows, talk)
    assert scores.tolist() == [[[5]]]
    assert [line for line in talk.warned if str(other) in line and "left out" in line]


def test_stores_of_several_models_and_rounds(tmp_path: Path) -> None:
    first, second = open_scores(tmp_path, {"lm": "abc"}), open_scores(tmp_path, {"lm": "def"})
    for store, query, score in ((first, 1, -1), (first, 2, -2), (second, 1, -3)):
        with store.appending() as log:
            log.append(keys([query]), keys([8]), np.array([score], dtype=np.float32))
    scores, counts = merge_stores([first, second], keys([2, 1]), keys([9, 8]), np.array([[0, 1], [1, PADDING]], dtype=np.uint32))
    expected = [[[np.nan, -2], [-1, np.nan]], [[np.nan, np.nan], [-3, np.nan]]]
    assert np.array_equal(scores, np.array(expected, np.float32), equal_nan=True)
    assert [count["records"] for count in counts] == [2, 1]
