"""A whole round on tiny models: two runs are the same bytes, a killed one ends like an unbroken one, and a second round opens."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from train.rig import MINE, TRAIN, Notes, contents, encoder_config
from umr import rounds
from umr.config import LabelConfig
from umr.data.labels import read_labels
from umr.data.workspace import Workspace
from umr.label import label
from umr.manifest import read_manifest
from umr.mine import mine
from umr.rounds import run
from umr.run_file import RunConfig
from umr.train import train


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """One round; the work folder is put in by the test."""
    folder = tmp_path_factory.mktemp("loop")
    corpus = tiny.tiny_corpus(folder / "data", 13, 10)
    return RunConfig(
        work=folder / "none",
        passages=(str(corpus.passages),),
        queries=(str(corpus.queries),),
        encoder=encoder_config(tiny.encoder(folder / "bert")),
        mine=MINE,
        label=LabelConfig(lm=str(tiny.llama(folder / "llama")), precision="fp32"),
        train=TRAIN,
    )


def outcome(work: Workspace, number: int = 0) -> dict[str, bytes]:
    """Candidates, labels and weights of a round, with everything that lies beside them."""
    return contents(work.layout.round(number).folder)


def same_outcome(a: Workspace, b: Workspace, number: int = 0) -> None:
    """The same bytes, wherever the work folder is."""
    first, second = outcome(a, number), outcome(b, number)
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == second[name], name


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return run(replace(config, work=tmp_path_factory.mktemp("finished") / "work"))


def test_two_runs_are_bitwise_equal(config: RunConfig, finished: Workspace, tmp_path: Path) -> None:
    again = run(replace(config, work=tmp_path / "again"))
    found = outcome(again)
    assert {"candidates.parquet", "labels.parquet", "encoder/model.safetensors", "mine.json", "label.json", "train.json"} <= found.keys()
    same_outcome(again, finished)


def test_the_labels_are_distributions_over_the_candidates(finished: Workspace) -> None:
    labels = read_labels(finished.layout.round(0).labels)
    assert labels.labels.shape == (10, 6)
    np.testing.assert_allclose(np.exp(labels.labels.astype(np.float64)).sum(axis=1), 1, rtol=1e-5)
    assert (labels.scores < 0).all()
    assert np.ptp(labels.scores, axis=1).min() > 0


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("border", ["mine", "label", "train"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_the_border_of_a_stage_it_continues(
    config: RunConfig, finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, border: str, after: bool
) -> None:
    stages: dict[str, Callable[..., Any]] = {"mine": mine, "label": label, "train": train}

    def killed(*arguments: Any) -> None:
        if after:
            stages[border](*arguments)
        raise Killed

    mine_here = replace(config, work=tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setitem(rounds.STAGES, border, killed)
        with pytest.raises(Killed):
            run(mine_here)
    notes = Notes()
    work = run(mine_here, notes)
    same_outcome(work, finished)
    done = ["mine", "label", "train"].index(border) + after
    for stage, word in list({"mine": "mined", "label": "labelled", "train": "trained"}.items())[:done]:
        assert f"round 0 is {word} already" in notes.text, stage


def test_a_finished_run_does_nothing(config: RunConfig, finished: Workspace) -> None:
    before, notes = contents(finished.layout.folder), Notes()
    run(replace(config, work=finished.layout.folder), notes)
    assert contents(finished.layout.folder) == before
    assert notes.text.count("already") == 3


def test_a_second_round_opens_with_the_new_encoder(config: RunConfig, finished: Workspace, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.layout.folder, tmp_path / "work"))
    notes = Notes()
    work = run(replace(config, work=folder, rounds=2), notes)
    assert [r.stage for r in work.layout.rounds()] == ["train", "train"]
    first, second = (read_manifest(work.layout.round(r).mined, "mine") for r in (0, 1))
    assert first["query_weights"] != second["query_weights"]
    assert "read from umr_encoder.json" in notes.text
    assert work.encoder_of(2).model == str(work.layout.round(1).encoder)


def test_no_pair_is_scored_twice(config: RunConfig, finished: Workspace, tmp_path: Path) -> None:
    """Another work folder on the same store has nothing left to score; the second round scores its new pairs alone."""
    notes = Notes()
    store = finished.layout.scores
    work = run(replace(config, work=tmp_path / "work", label=replace(config.label, store=str(store))), notes)
    assert "60 pairs, 60 of them scored before" in notes.text
    assert "scoring" not in notes.text
    np.testing.assert_array_equal(read_labels(work.layout.round(0).labels).scores, read_labels(finished.layout.round(0).labels).scores)


def test_encoder_decoders_close_the_loop_too(config: RunConfig, tmp_path: Path) -> None:
    lm = tiny.mt5(tmp_path / "mt5")
    work = run(replace(config, work=tmp_path / "work", label=replace(config.label, lm=str(lm), source_length=100)))
    assert [r.stage for r in work.layout.rounds()] == ["train"]
