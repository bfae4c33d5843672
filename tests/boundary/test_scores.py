from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from umr._rust import Counter, ScoreLog, merge_scores, merge_stores
from umr.errors import FormatError, InputError, ScoreError, StorageError, UsageError

Keys = NDArray[np.uint64]


def keys(*words: int) -> Keys:
    return np.array([(word, 2**63 + word) for word in words], dtype=np.uint64).reshape(-1, 2)


def segment(path: Path, queries: Keys, passages: Keys, scores: list[float]) -> str:
    log = ScoreLog.create(str(path))
    log.append(queries, passages, np.array(scores, dtype=np.float32))
    log.close()
    return str(path)


def test_the_first_record_wins_and_everything_is_counted(tmp_path: Path) -> None:
    first = segment(tmp_path / "a", keys(1, 2, 1), keys(5, 5, 6), [-1.0, -2.0, -3.0])
    second = segment(tmp_path / "b", keys(1, 2, 9), keys(5, 5, 9), [-1.0, -7.0, -9.0])
    counter = Counter()
    scores, stats = merge_scores([first, second], keys(2, 1, 4, 2), keys(5, 5, 4, 5), counter=counter)
    assert scores.dtype == np.float32
    assert np.array_equal(scores, np.array([-2, -1, np.nan, -2], np.float32), equal_nan=True)
    assert stats == {"records": 6, "torn": 0, "duplicates": 1, "conflicts": 1}
    assert counter.value == 6


def test_a_torn_tail_loses_its_record_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    segment(path, keys(1, 2), keys(1, 2), [-1.0, -2.0])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        scores, stats = merge_scores([str(path)], keys(1, 2), keys(1, 2))
        kept = max(0, length - 32) // 40
        assert stats["records"] == kept
        assert stats["torn"] == (length not in (32, 72))
        assert np.isfinite(scores).tolist() == [kept > 0, kept > 1]


def test_a_damaged_record_ends_its_segment(tmp_path: Path) -> None:
    path = tmp_path / "a"
    other = segment(tmp_path / "b", keys(3), keys(3), [-3.0])
    segment(path, keys(1, 2), keys(1, 2), [-1.0, -2.0])
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    scores, stats = merge_scores([str(path), other], keys(1, 2, 3), keys(1, 2, 3))
    assert np.isnan(scores).tolist() == [True, True, False]
    assert stats == {"records": 1, "torn": 1, "duplicates": 0, "conflicts": 0}


def test_what_is_refused(tmp_path: Path) -> None:
    log = ScoreLog.create(str(tmp_path / "a"))
    with pytest.raises(StorageError, match="exists already"):
        ScoreLog.create(str(tmp_path / "a"))
    with pytest.raises(ScoreError, match="score 1 is NaN"):
        log.append(keys(1, 2), keys(1, 2), np.array([0, np.nan], np.float32))
    with pytest.raises(UsageError, match="1 query keys"):
        log.append(keys(1), keys(1, 2), np.zeros(2, np.float32))
    with pytest.raises(UsageError, match=r"shape \[m, 2\], got \[1, 3\]"):
        log.append(np.zeros((1, 3), np.uint64), keys(1), np.zeros(1, np.float32))
    log.close()
    log.close()
    with pytest.raises(UsageError, match="closed"):
        log.append(keys(1), keys(1), np.zeros(1, np.float32))
    (tmp_path / "other").write_bytes(b"x" * 64)
    with pytest.raises(FormatError, match="not a score segment"):
        merge_scores([str(tmp_path / "other")], keys(1), keys(1))
    with pytest.raises(InputError, match="no such file"):
        merge_scores([str(tmp_path / "none")], keys(1), keys(1))


def test_nothing_wanted_and_no_segments() -> None:
    scores, stats = merge_scores([], keys(), keys())
    assert scores.shape == (0,)
    assert stats["records"] == 0


def test_stores_merge_into_one_table(tmp_path: Path) -> None:
    first = segment(tmp_path / "a", keys(1, 2), keys(5, 6), [-1.0, -2.0])
    second = segment(tmp_path / "b", keys(1, 2), keys(5, 5), [-3.0, -4.0])
    rows, counter = np.array([[0, 2**32 - 1], [1, 0]], np.uint32), Counter()
    scores, counts, torn = merge_stores([[first, second], [second]], keys(1, 2), keys(5, 6), rows, counter=counter)
    assert scores is not None
    assert scores.dtype == np.float32
    expected = [[[-1, np.nan], [-2, -4]], [[-3, np.nan], [np.nan, -4]]]
    assert np.array_equal(scores, np.array(expected, np.float32), equal_nan=True)
    assert counts[0] == {"records": 4, "torn": 0, "duplicates": 0, "conflicts": 1}
    assert counts[1] == {"records": 2, "torn": 0, "duplicates": 0, "conflicts": 0}
    assert (torn, counter.value) == ([], 6)


def test_a_table_goes_into_a_file_and_torn_segments_are_named(tmp_path: Path) -> None:
    path = Path(segment(tmp_path / "a", keys(1, 2), keys(5, 6), [-1.0, -2.0]))
    path.write_bytes(path.read_bytes()[:-1])
    rows, out = np.array([[0], [1], [0]], np.uint32), tmp_path / "scores.npy"
    found = merge_stores([[str(path)]], keys(1, 2, 1), keys(5, 6), rows, out=str(out), memory=1, threads=2)
    assert found == (None, [{"records": 1, "torn": 1, "duplicates": 0, "conflicts": 0}], [str(path)])
    assert np.array_equal(np.load(out), np.array([[[-1], [np.nan], [-1]]], np.float32), equal_nan=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "scores.npy"]


def test_tables_that_do_not_fit_are_refused() -> None:
    rows = np.zeros((1, 2), np.uint32)
    with pytest.raises(UsageError, match="2 query keys do not meet 2 pairs"):
        merge_stores([], keys(1, 2), keys(5), rows)
    with pytest.raises(UsageError, match="row 3 of 1 passages"):
        merge_stores([], keys(1), keys(5), rows + np.uint32(3))
    with pytest.raises(UsageError, match=r"rows: expected a C-contiguous uint32 array of shape \[Q, k\]"):
        merge_stores([], keys(1), keys(5), rows[0])
