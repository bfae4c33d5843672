"""Labelling a round in which queries have fewer candidates than others, and one has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from umr.config import LabelConfig
from umr.data.candidates import PADDING
from umr.data.labels import read_labels
from umr.label.inspect import inspect_labels
from umr.manifest import checksums, read_manifest, write_manifest

stage = import_module("umr.label")  # the module: `umr.label` is the function


@pytest.fixture
def config(lm_folder: Callable[..., Path]) -> LabelConfig:
    return LabelConfig(lm=str(lm_folder("llama")), precision="fp32", batch_tokens=400, template="{text} {language}:")


@pytest.fixture
def work(tmp_path: Path) -> Any:
    return tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))


def shorten(work: Any, candidates: Any) -> np.ndarray:
    """Cut the lists of a round that was mined; [Q, k] what is left."""
    left = np.arange(4) < np.array([4, 0, 2, 1, 4, 4, 3, 4])[:, None]
    candidates.rows[~left], candidates.scores[~left] = PADDING, -np.inf
    place = work.layout.round(0)
    made_from = read_manifest(place.mined, "mine")["made_from"]
    candidates.write(place.candidates, work.passages)
    write_manifest(place.mined, "mine", made_from, {"files": checksums(place.candidates), "queries": 8, "top_k": 4})
    return left


@pytest.mark.parametrize("options", [{}, {"correct": "average", "fuse": 0.5}, {"screen": 2}])
def test_scores_are_those_of_whole_lists_and_nothing_else_is_scored(work: Any, config: LabelConfig, options: dict[str, Any]) -> None:
    candidates = tiny.mined(work, 4)
    whole = stage.label(work, replace(config, store=str(work.layout.folder / "elsewhere")))
    left = shorten(work, candidates)
    made = stage.label(work, replace(config, **options), force=True)
    kept = left & (np.arange(4) < options.get("screen", 4))
    np.testing.assert_array_equal(np.isnan(made.scores), ~kept)
    np.testing.assert_array_equal(np.isneginf(made.labels), ~kept)
    np.testing.assert_allclose(made.scores[kept], whole.scores[kept], atol=1e-4)
    sums = np.exp(made.labels.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(sums, left.any(axis=1).astype(np.float64), atol=1e-5)
    manifest = read_manifest(work.layout.round(0).labelled, "label")
    assert manifest["pairs"] == int(kept.sum())
    assert manifest["records"] == int(kept.sum())  # what was scored, and nothing twice
    back = read_labels(work.layout.round(0).labels)
    assert back.labels.tobytes() == made.labels.tobytes()
    found = inspect_labels(work)
    assert sum(row.queries for row in found.per_language.values()) == 7
    assert found.macro.unscored == int((left & ~kept).sum())


def test_a_round_without_any_candidate_is_labelled_with_nothing(work: Any, config: LabelConfig) -> None:
    candidates = tiny.mined(work, 4)
    shorten(work, candidates)
    candidates.rows[:], candidates.scores[:] = PADDING, -np.inf
    place = work.layout.round(0)
    made_from = read_manifest(place.mined, "mine")["made_from"]
    candidates.write(place.candidates, work.passages)
    write_manifest(place.mined, "mine", made_from, {"files": checksums(place.candidates), "queries": 8, "top_k": 4})
    made = stage.label(work, config)
    assert np.isnan(made.scores).all()
