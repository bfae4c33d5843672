"""`umr eval` over work folders, encoders and TREC runs, and the score of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umr.data.trec import read_rankings
from umr.data.workspace import open_workspace
from umr.errors import FormatError
from umr.evaluate import token_limit, xor_retrieve

Shell = Callable[..., Any]


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "gold.qrels"
    path.write_text("".join(f"q{n} 0 p{n} 1\n" for n in range(8)), encoding="utf-8")
    return path


def lists_of(path: Path, work: Path, best: Callable[[int], str]) -> Path:
    """A run in which the passage that `best` names is first."""
    queries = open_workspace(work).queries.ids()
    path.write_text("".join(f"{q} Q0 {best(int(q[1:]))} 1 2.5 x\n{q} Q0 other 2 1 x\n" for q in queries), encoding="utf-8")
    return path


def test_runs_of_any_system_are_compared_with_the_first(shell: Shell, work: Path, qrels: Path, tmp_path: Path) -> None:
    good, bad = lists_of(tmp_path / "good.trec", work, "p{}".format), lists_of(tmp_path / "bad.trec", work, lambda n: "p99")
    done = shell("eval", bad, good, "--qrels", qrels, "--metrics", "R@1", "--json")
    assert done.code == 0, done.err
    found = done.json
    assert [one["macro"]["R@1"] for one in found["systems"].values()] == [0.0, 1.0]
    assert [(c["before"], c["after"]) for c in found["comparisons"]] == [(str(bad), str(good))]
    assert found["systems"][str(good)]["counts"] == {"all": 8}
    assert found["comparisons"][0]["macro"]["p"] < 0.05


def test_work_folders_encoders_and_runs_stand_side_by_side(
    shell: Shell, work: Path, kit: Any, qrels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMR_CACHE", str(tmp_path / "cache"))
    good = lists_of(tmp_path / "good.trec", work, "p{}".format)
    done = shell("eval", work, work / "round-0" / "encoder", good, "--qrels", qrels, "--metrics", "R@1,MRR", "--json")
    assert done.code == 0, done.err
    of_work, of_encoder, of_run = done.json["systems"].values()
    assert of_work["per_query"] == of_encoder["per_query"]
    assert of_run["macro"]["R@1"] == 1.0
    assert of_run["counts"] == of_work["counts"]
    assert len(list((tmp_path / "cache" / "evaluation").iterdir())) == 1
    alone = shell("eval", work / "round-0" / "encoder", "--qrels", qrels, *kit.files, "--metrics", "R@1,MRR", "--json")
    assert alone.json["per_query"] == of_work["per_query"]


@pytest.mark.parametrize(("form", "sign"), [("markdown", "| --- | ---: |"), ("latex", r"\begin{tabular}"), ("csv", "lang,queries,metric")])
def test_tables_for_papers(shell: Shell, work: Path, qrels: Path, form: str, sign: str) -> None:
    done = shell("eval", work, "--qrels", qrels, "--metrics", "R@1", "--format", form)
    assert done.code == 0, done.err
    assert sign in done.out


def test_what_is_nothing_or_lacks_its_passages_is_refused(shell: Shell, kit: Any, qrels: Path, tmp_path: Path) -> None:
    done = shell("eval", tmp_path / "nothing", "--qrels", qrels)
    assert done.code == 1
    assert "no work folder, no encoder and no TREC run" in done.talk
    done = shell("eval", kit.bert, "--qrels", qrels)
    assert done.code == 2
    assert "needs passages" in done.talk
    assert "--passages" in done.talk
    assert "nothing to measure" in shell("eval").talk


def test_a_pair_twice_in_a_run_is_refused_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "twice.trec"
    path.write_text("q Q0 a 1 2 x\nq Q0 b 2 1 x\nq Q0 a 3 0.5 x\n")
    with pytest.raises(FormatError, match=r"twice.trec:3: query 'q' has passage 'a' a second time, first on line 1"):
        read_rankings(path)


def test_xor_retrieve_from_a_work_folder_writes_its_predictions(shell: Shell, work: Path, tmp_path: Path, monkeypatch: Any) -> None:
    for module in (token_limit, xor_retrieve):
        monkeypatch.setattr(module, "word_tokenizer", lambda: str.split)
    passages = open_workspace(work).passages
    ((_, text),) = passages.texts(np.array([3], dtype=np.uint32))
    gold = tmp_path / "gold.jsonl"
    rows = [{"id": "x1", "question": text, "lang": "fi", "answers": [text.split()[0], "no"]}, {"id": "x2", "question": "?", "lang": "fi",
            "answers": ["yes"]}]  # fmt: skip
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = shell("eval", work, "--benchmark", "xor-retrieve", "--gold", gold, "--top-k", 3, "--json")
    assert done.code == 0, done.err
    assert done.json["R@2kt"]["languages"] == {"fi": {"counted": 1, "score": 100.0}}
    written = work / "evaluation" / "xor-retrieve.json"
    first = json.loads(written.read_text())[0]
    assert (first["id"], first["lang"], len(first["ctxs"])) == ("x1", "fi", 3)
    again = shell("eval", "--benchmark", "xor-retrieve", "--gold", gold, "--predictions", written, "--json")
    assert again.json == done.json
    shown = shell("eval", "--benchmark", "xor-retrieve", "--gold", gold, "--predictions", written)
    assert "ceiling" in shown.out


def test_a_benchmark_without_its_files_is_a_usage_error(shell: Shell, work: Path) -> None:
    assert "known: xor-retrieve" in shell("eval", work, "--benchmark", "beir").talk
    assert "needs --gold" in shell("eval", work, "--benchmark", "xor-retrieve").talk
