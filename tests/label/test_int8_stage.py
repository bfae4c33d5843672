"""Labelling in int8 from beginning to end: calibrated once, kept beside the scores, used again, refused when damaged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiny
import umr
from umr.config import LabelConfig
from umr.errors import StorageError
from umr.label import check


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("llama") / "llama")


def work(folder: Path) -> Any:
    workspace = tiny.workspace(folder / "work", tiny.tiny_corpus(folder / "corpus", passages=12, queries=9))
    tiny.mined(workspace, k=4)
    return workspace


def labelled(workspace: Any, llama: Path, precision: Any, talk: tiny.Talk | None = None, **options: Any) -> Any:
    return umr.label(workspace, LabelConfig(lm=str(llama), precision=precision), reporter=talk, **options)


def test_scores_are_near_those_of_fp32_and_the_calibration_is_made_once(tmp_path: Path, llama: Path) -> None:
    workspace, talk = work(tmp_path), tiny.Talk()
    found = labelled(workspace, llama, "int8", talk)
    (recipe,) = (tmp_path / "work" / "scores").glob("int8-*.safetensors")
    assert any("int8 is calibrated with" in line for line in talk.said)
    exact = labelled(workspace, llama, "fp32", force=True)
    assert 0 < np.abs(found.scores - exact.scores).max() < 0.1
    before = recipe.stat().st_mtime_ns
    again = tiny.Talk()
    assert labelled(workspace, llama, "int8", again, force=True).scores.tobytes() == found.scores.tobytes()
    assert recipe.stat().st_mtime_ns == before
    assert not any("calibrated" in line for line in again.said)


def test_a_damaged_calibration_is_refused(tmp_path: Path, llama: Path) -> None:
    workspace = work(tmp_path)
    labelled(workspace, llama, "int8")
    (recipe,) = (tmp_path / "work" / "scores").glob("int8-*.safetensors")
    recipe.write_bytes(recipe.read_bytes()[:-20])
    for store in (tmp_path / "work" / "scores").glob("*/"):
        for file in store.glob("*"):
            file.unlink()
    with pytest.raises(StorageError, match=recipe.name):
        labelled(workspace, llama, "int8", force=True)


def test_a_calibration_sees_pairs_from_all_over_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = work(tmp_path)
    monkeypatch.setattr(check, "passages", lambda _, rows: [str(row) for row in rows])
    monkeypatch.setattr(check, "_trees", lambda reading, sources, targets, numbers: [(sources[0], targets[0], numbers[0])])
    reading = SimpleNamespace(
        target=lambda name, text: [name], source=lambda text, lang, room: (text, lang, room), room=lambda length: 100 - length
    )
    pairs: Any = SimpleNamespace(
        rows=np.arange(36) % 12,
        queries=np.arange(36) // 4,
        candidates=SimpleNamespace(query_ids=[f"q{q}" for q in range(9)], langs=["en"] * 9),
    )
    made: Any = check.spread_trees(workspace, pairs, np.arange(5, 36), reading, 4)
    assert [number for _, _, number in made] == [5, 15, 25, 35]
    assert [target for _, target, _ in made] == [["q1"], ["q3"], ["q6"], ["q8"]]
    assert [source[0] for source, _, _ in made] == ["5", "3", "1", "11"]
    assert len(check.spread_trees(workspace, pairs, np.arange(3), reading, 24)) == 3
