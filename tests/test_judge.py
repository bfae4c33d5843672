"""Evaluation of a work folder: gold comes in here alone, and what does not fit is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from train.rig import MINE, TRAIN, encoder_config, labelled, opened
from umr.data.workspace import Workspace
from umr.errors import InputError
from umr.judge import judge, read_test_set
from umr.mine import mine
from umr.retrieve import encoders
from umr.train import train


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("judge")
    made = opened(
        folder / "work", tiny.tiny_corpus(folder / "data", 13, 7, langs=("en", "de")), encoder_config(tiny.encoder(folder / "bert"))
    )
    labelled(made)
    return made


def qrels(folder: Path, judged: dict[str, str]) -> Path:
    path = folder / "qrels.txt"
    path.write_text("".join(f"{q} 0 {p} 1\n" for q, p in judged.items()))
    return path


def test_the_ranks_of_the_gold_are_measured(work: Workspace, tmp_path: Path) -> None:
    """Gold at rank 1 for the even queries (English), at rank 2 for the odd (German)."""
    found = mine(work, MINE, 0).run(work.passages)
    gold = {q: ranking[int(q[1:]) % 2][0] for q, ranking in found.items()}
    evaluation, candidates = judge(work, read_test_set(work, qrels(tmp_path, gold)), "first", ("R@1", "R@5", "MRR"), k=5)
    assert evaluation.per_language == {"de": {"R@1": 0.0, "R@5": 1.0, "MRR": 0.5}, "en": {"R@1": 1.0, "R@5": 1.0, "MRR": 1.0}}
    assert evaluation.macro["MRR"] == pytest.approx(0.75)
    assert evaluation.counts == {"de": 3, "en": 4}
    assert candidates.rows.shape == (7, 5)


def test_other_queries_over_the_same_passages(work: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("x1\tthe old bridge\nx2\tthe king\n")
    test = read_test_set(work, qrels(tmp_path, {"x1": "p0", "gone": "p1"}), [str(other)], (), "en")
    evaluation, _ = judge(work, test, "first", ("R@1",), k=99)
    assert set(evaluation.per_query["R@1"]) == {"x1"}
    assert evaluation.unjudged == 1
    assert sorted(p.name for p in work.layout.folder.iterdir() if p.is_dir() and p.name == "evaluation")


def test_judgments_of_something_else_are_refused(work: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of its 1 query ids is among the 7 queries") as caught:
        read_test_set(work, qrels(tmp_path, {"z": "p0"}))
    assert "--queries" in caught.value.hint
    with pytest.raises(InputError, match="the first is 'z9'") as caught:
        read_test_set(work, qrels(tmp_path, {"q0": "z9"}))
    assert "--passages" in caught.value.hint


def test_the_first_and_the_newest_encoder(work: Workspace) -> None:
    assert encoders(work) == ["first"]
    train(work, TRAIN)
    assert encoders(work) == ["first", 0]


def test_a_metric_deeper_than_k_retrieves_deeper(work: Workspace, tmp_path: Path) -> None:
    found = mine(work, MINE, 0).run(work.passages)
    gold = {q: ranking[5][0] for q, ranking in found.items()}
    evaluation, candidates = judge(work, read_test_set(work, qrels(tmp_path, gold)), "first", ("R@10", "MRR"), k=2)
    assert candidates.rows.shape == (7, 10)
    assert evaluation.macro["R@10"] == 1.0
