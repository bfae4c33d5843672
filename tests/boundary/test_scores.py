from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from umr._rust import ScoreLog, merge_stores
from umr.errors import InputError, ScoreError, StorageError, UsageError

Keys = NDArray[np.uint64]
STORE = "a store"


def keys(*words: int) -> Keys:
    return np.array([(word, 2**63 + word) for word in words], dtype=np.uint64).reshape(-1, 2)


def segment(path: Path, queries: Keys, passages: Keys, scores: list[float]) -> str:
    log = ScoreLog.create(str(path), STORE)
    log.append(queries, passages, np.array(scores, dtype=np.float32))
    log.close()
    return str(path)


def diagonal(*words: int) -> tuple[Keys, Keys, NDArray[np.uint32]]:
    """One pair a query: the passage with the query's own key."""
    return keys(*words), keys(*words), np.arange(len(words), dtype=np.uint32)[:, None]


def test_a_torn_tail_loses_its_record_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    segment(path, keys(1, 2), keys(1, 2), [-1.0, -2.0])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        scores, (counts,), _ = merge_stores([(STORE, [str(path)])], *diagonal(1, 2))
        kept = max(0, length - 32) // 40
        assert counts["records"] == kept
        assert counts["torn"] == (length not in (32, 72))
        assert np.isfinite(scores).reshape(-1).tolist() == [kept > 0, kept > 1]


def test_a_damaged_record_hides_no_other(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    segment(other, keys(3), keys(3), [-3.0])
    segment(path, keys(1, 2), keys(1, 2), [-1.0, -2.0])
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    scores, counts, (flaws,) = merge_stores([(STORE, [str(path), str(other)])], *diagonal(1, 2, 3))
    assert np.isnan(scores).reshape(-1).tolist() == [True, False, False]
    assert counts == [{"records": 2, "torn": 0, "duplicates": 0, "conflicts": 0}]
    assert [(Path(name), records) for name, records in flaws] == [(path, 1)]


def test_a_segment_without_a_header_or_of_another_store_is_left_out_whole(tmp_path: Path) -> None:
    good = segment(tmp_path / "good", keys(1), keys(1), [-1.0])
    other = tmp_path / "other"
    log = ScoreLog.create(str(other), "another store")
    log.append(keys(1), keys(1), np.float32([-9]))
    log.close()
    (tmp_path / "text").write_bytes(b"x" * 64)
    scores, _, (flaws,) = merge_stores([(STORE, [str(other), str(tmp_path / "text"), good])], *diagonal(1))
    assert scores.tolist() == [[[-1]]]
    assert [(Path(name), records) for name, records in flaws] == [(other, None), (tmp_path / "text", None)]


def test_what_is_refused(tmp_path: Path) -> None:
    log = ScoreLog.create(str(tmp_path / "a"), STORE)
    with pytest.raises(StorageError, match="exists already"):
        ScoreLog.create(str(tmp_path / "a"), STORE)
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
    with pytest.raises(InputError, match="no such file"):
        merge_stores([(STORE, [str(tmp_path / "none")])], *diagonal(1))


def test_nothing_wanted_and_no_segments() -> None:
    scores, counts, _ = merge_stores([(STORE, [])], *diagonal())
    assert scores.shape == (1, 0, 1)
    assert counts[0]["records"] == 0


def test_stores_merge_into_one_table(tmp_path: Path) -> None:
    first = segment(tmp_path / "a", keys(1, 2), keys(5, 6), [-1.0, -2.0])
    second = segment(tmp_path / "b", keys(1, 2), keys(5, 5), [-3.0, -4.0])
    rows = np.array([[0, 2**32 - 1], [1, 0]], np.uint32)
    scores, counts, _ = merge_stores([(STORE, [first, second]), (STORE, [second])], keys(1, 2), keys(5, 6), rows)
    assert scores.dtype == np.float32
    expected = [[[-1, np.nan], [-2, -4]], [[-3, np.nan], [np.nan, -4]]]
    assert np.array_equal(scores, np.array(expected, np.float32), equal_nan=True)
    assert counts[0] == {"records": 4, "torn": 0, "duplicates": 0, "conflicts": 1}
    assert counts[1] == {"records": 2, "torn": 0, "duplicates": 0, "conflicts": 0}


def test_tables_that_do_not_fit_are_refused() -> None:
    rows = np.zeros((1, 2), np.uint32)
    with pytest.raises(UsageError, match="2 query keys with 2 candidates each, but 2 rows"):
        merge_stores([], keys(1, 2), keys(5), rows)
    with pytest.raises(UsageError, match="row 3 of 1 passages"):
        merge_stores([], keys(1), keys(5), rows + np.uint32(3))
    with pytest.raises(UsageError, match=r"rows: expected a C-contiguous uint32 array of shape \[Q, k\]"):
        merge_stores([], keys(1), keys(5), rows[0])
