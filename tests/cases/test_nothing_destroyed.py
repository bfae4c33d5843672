"""A cure must not destroy: what was trained outlives every --force; a refused call changes nothing and says why in the user's words."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny
from cli.conftest import TRAIN, Kit, run

AGAIN: dict[str, tuple[object, ...]] = {
    "mine": ("--round", 0, "--top-k", 3),
    "label": ("--round", 0, "--temperature", 0.5, "--precision", "fp32"),
    "train": ("--round", 0, *TRAIN, "--seed", 7),
}
"""Other options for each stage of a trained round."""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("kit")
    corpus = tiny.tiny_corpus(folder / "data", 9, 8)
    return Kit(tiny.encoder(folder / "bert"), tiny.llama(folder / "llama"), corpus.passages, corpus.queries)


@pytest.fixture(scope="module")
def trained(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("trained") / "work"
    calls = (
        ("mine", work, *kit.inputs, "--top-k", 4),
        ("label", work, "--lm", kit.llama, "--precision", "fp32"),
        ("train", work, *TRAIN),
    )
    for call in calls:
        done = run(*call)
        assert done.code == 0, done.err
    return work


@pytest.fixture
def work(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "work"))


def call(kit: Kit, work: Path, stage: str, *more: object) -> Any:
    lm = ("--lm", kit.llama) if stage == "label" else ()
    return run(stage, work, *lm, *AGAIN[stage], *more)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("stage", AGAIN)
def test_what_was_trained_outlives_force(kit: Kit, work: Path, stage: str) -> None:
    before = files(work / "round-0" / "encoder")
    done = call(kit, work, stage, "--force")
    assert done.code == 0, done.err
    kept = [path.parent for path in work.rglob("train.json") if files(path.parent / "encoder") == before]
    assert len(kept) == 1, "the trained encoder is gone"
    assert str(kept[0]) in done.talk
    read = run("mine", work.parent / "other", *kit.files, "--encoder", kept[0] / "encoder", "--top-k", 2)
    assert read.code == 0, read.err


def test_each_force_keeps_the_one_before(kit: Kit, work: Path) -> None:
    for seed in (1, 2):
        done = run("train", work, *TRAIN, "--seed", seed, "--force")
        assert done.code == 0, done.err
    weights = [path.read_bytes() for path in work.rglob("encoder/model.safetensors")]
    assert len(weights) == len(set(weights)) == 3


@pytest.mark.parametrize("stage", AGAIN)
def test_a_refused_stage_changes_nothing(kit: Kit, work: Path, stage: str) -> None:
    before = files(work)
    done = call(kit, work, stage)
    assert done.code == 1, done.err
    assert "--force" in done.talk
    assert files(work) == before


@pytest.mark.parametrize("option", ["--passages", "--queries"])
def test_other_files_are_refused_by_their_names_and_leave_the_folder_alone(kit: Kit, work: Path, tmp_path: Path, option: str) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "other", 10, 6, seed=3)
    before, own = files(work), {"--passages": kit.passages, "--queries": kit.queries}
    other = {"--passages": corpus.passages, "--queries": corpus.queries}[option]
    inputs = [word for pair in (own | {option: other}).items() for word in pair]
    done = run("mine", work, *inputs, *kit.encoder, "--top-k", 4)
    assert done.code == 1, done.err
    assert str(own[option]) in done.talk
    assert str(other) in done.talk
    assert not re.search(r"[0-9a-f]{32}", done.talk)
    assert files(work) == before
    assert run("status", work).code == 0


def test_another_language_model_is_refused_by_its_name(kit: Kit, work: Path, tmp_path: Path) -> None:
    other = tiny.llama(tmp_path / "another", seed=1)
    before = files(work)
    done = run("label", work, "--lm", other, "--precision", "fp32")
    assert done.code == 1, done.err
    assert f"lm is '{kit.llama}', asked for '{other}'" in done.talk
    assert not re.search(r"[0-9a-f]{32}", done.talk)
    assert files(work) == before


def test_labels_of_other_candidates_are_not_trained_on(kit: Kit, work: Path, tmp_path: Path) -> None:
    """Candidates that another mining wrote, with their manifest: both whole, but the labels are not theirs."""
    other = tmp_path / "three"
    assert run("mine", other, *kit.inputs, "--top-k", 3).code == 0
    for name in ("mine.json", "candidates.parquet"):
        shutil.copy(other / "round-0" / name, work / "round-0" / name)
    done = run("train", work, *TRAIN, "--force")
    assert done.code == 1, done.err
    assert "round 0 was labelled otherwise: candidates" in done.talk
    assert "umr label" in done.talk


def test_an_unfinished_training_is_moved_aside_too(kit: Kit, work: Path) -> None:
    """Its state is that of another call, and stands for hours of work."""
    state = work / "round-0" / "training" / "state.json"
    state.parent.mkdir()
    state.write_text('{"format": 1, "kind": "training", "made_from": {"epochs": 9}, "steps": 2, "state": "state-2"}')
    (state.parent / "state-2").mkdir()
    done = run("train", work, *TRAIN, "--force")
    assert done.code == 0, done.err
    assert [path.parent.name for path in work.rglob("state-2")] == ["training"]
    assert not state.exists()
