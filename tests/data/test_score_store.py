"""The score store: found again by what it was made from, refused where it is another's, one segment a process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from umr.data.scores import ScoreStore, merge_stores, open_scores
from umr.errors import FormatError, InputError, MismatchError, UmrError

MADE_FROM = {"lm": "abc", "source": "{text}", "precision": "fp32"}


def keys(*numbers: int) -> NDArray[np.uint64]:
    return np.array([(n, n) for n in numbers], dtype=np.uint64)


def add(store: ScoreStore, *numbers: int) -> None:
    with store.appending() as log:
        log.append(keys(*numbers), keys(*numbers), np.array(numbers, dtype=np.float32))


def scores_of(store: ScoreStore, *numbers: int) -> list[float | None]:
    """What `add` put there; None where there is none."""
    rows = np.arange(len(numbers), dtype=np.uint32)[:, None]
    scores, _ = merge_stores([store], keys(*numbers), keys(*numbers), rows)
    return [None if np.isnan(score) else float(score) for score in scores.reshape(-1)]


def test_a_store_is_found_again_whatever_the_order_of_its_making(tmp_path: Path) -> None:
    store = open_scores(tmp_path, MADE_FROM)
    assert open_scores(tmp_path, dict(reversed(MADE_FROM.items()))) == store
    for key in MADE_FROM:
        assert open_scores(tmp_path, MADE_FROM | {key: "other"}) != store
    assert len(list(tmp_path.iterdir())) == 4


def test_scores_come_back_and_missing_ones_are_nan(tmp_path: Path) -> None:
    store = open_scores(tmp_path, MADE_FROM)
    assert scores_of(store, 1, 2) == [None, None]
    add(store, 1, 2)
    add(store, 3)
    assert [Path(s).name for s in store.segments()] == ["segment-000000.scores", "segment-000001.scores"]
    assert scores_of(store, 3, 4, 1) == [3, None, 1]


def test_an_error_while_appending_closes_the_segment_and_keeps_what_is_there(tmp_path: Path) -> None:
    store = open_scores(tmp_path, MADE_FROM)
    with pytest.raises(KeyboardInterrupt), store.appending() as log:  # noqa: PT012
        log.append(keys(5), keys(5), np.array([5], dtype=np.float32))
        raise KeyboardInterrupt
    assert scores_of(store, 5) == [5]


def test_a_segment_that_another_process_took_first_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_scores(tmp_path, MADE_FROM)
    add(store, 1)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "segment-000000.scores" and exists(path))  # seen too early
    add(store, 2)
    monkeypatch.undo()
    assert [Path(s).name for s in store.segments()] == ["segment-000000.scores", "segment-000001.scores"]
    assert scores_of(store, 1, 2) == [1, 2]


def test_a_store_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "gone", "a store")
    with pytest.raises(UmrError, match=r"gone/segment-000000\.scores"), store.appending():
        pass
    assert not (tmp_path / "gone").exists()


def test_a_folder_of_another_making_is_refused(tmp_path: Path) -> None:
    store = open_scores(tmp_path, MADE_FROM)
    manifest = store.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("fp32", "bf16"))
    with pytest.raises(MismatchError, match=r"manifest\.json has changed since it was written"):
        open_scores(tmp_path, MADE_FROM)


def test_a_damaged_manifest_and_a_file_are_refused(tmp_path: Path) -> None:
    manifest = open_scores(tmp_path, MADE_FROM).folder / "manifest.json"
    manifest.write_text("")
    with pytest.raises(FormatError, match=r"manifest\.json:1: not valid JSON"):
        open_scores(tmp_path, MADE_FROM)
    with pytest.raises(InputError, match="is a file, expected a folder"):
        open_scores(manifest, MADE_FROM)
