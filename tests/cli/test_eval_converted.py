"""`umr eval --benchmark` of LAReQA and MKQA: from their published files to the table."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchange.test_converted import DE, EN, SAMPLE, entity, example, mkqa, published
from reference import answers as slow
from umr.data.queries import open_queries
from umr.data.workspace import open_workspace
from umr.progress import Silent
from umr.retrieve import retrieve

Shell = Callable[..., Any]
judging = importlib.import_module("umr.judge")  # whose name in the package is the function


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where benchmarks are looked for."""
    monkeypatch.setenv("UMR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "benchmarks"


def average_precision(ranking: list[str], relevant: set[str]) -> float:
    hits = [rank for rank, name in enumerate(ranking, start=1) if name in relevant]
    return sum(found / rank for found, rank in enumerate(hits, start=1)) / len(relevant)


def test_lareqa_is_measured_over_the_whole_ranking(shell: Shell, work: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = shell("eval", work, "--benchmark", "lareqa/xquad-r")
    assert missing.code == 1
    assert f"no queries (xquad-r/??.json) below {files / 'lareqa'}" in missing.talk
    assert "google-research-datasets/lareqa on GitHub" in missing.talk
    many = [{**EN[0], "sentences": ["x y"] * 120, "sentence_breaks": [[0, 13], *[[13, 25]] * 119]}, EN[1]]
    published(files / "lareqa" / "any" / "xquad-r", monkeypatch, en=many, de=DE)
    done = shell("eval", work, "--benchmark", "lareqa/xquad-r", "--round", "first", "--json")
    assert done.code == 0, done.err
    assert done.json["counts"] == {"de": 2, "en": 5}
    assert list(done.json["macro"]) == ["mAP", "mAP@20"]
    (folder,) = (files.parent / "converted").iterdir()
    opened = open_workspace(work)
    test = judging.read_test_set(opened, folder / "qrels.txt", [folder / "queries.jsonl"], [folder / "passages.jsonl"])
    run = retrieve(opened, test.queries, test.passages, "first", len(test.passages)).run(test.passages)
    assert {len(ranking) for ranking in run.values()} == {125}
    for query, ranking in run.items():
        names = [name for name, _ in sorted(ranking, key=lambda one: (np.float32(one[1]), one[0]), reverse=True)]
        expected = average_precision(names, set(test.qrels.relevant(query)))
        assert done.json["per_query"]["mAP"][query] == pytest.approx(expected, abs=1e-6)
    shown = shell("eval", work, "--benchmark", "lareqa/xquad-r", "--round", "first", "--metrics", "Success@1")
    assert shown.code == 0, shown.err
    other = shell("eval", work, "--benchmark", "lareqa/mlqa-r", "--data", files / "lareqa")
    assert "no queries (mlqa-dev-r/??.json)" in other.talk
    assert "--top-k does not belong to lareqa" in shell("eval", work, "--benchmark", "lareqa/xquad-r", "--top-k", 5).talk


def test_measuring_some_queries_at_once_changes_nothing(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gold = tmp_path / "gold.qrels"
    gold.write_text("".join(f"q{n} 0 p{n} {n % 3}\n" for n in (5, 2, 7, 0, 1)), encoding="utf-8")
    opened = open_workspace(work)
    test = judging.read_test_set(opened, gold)
    whole, _ = judging.judge(opened, test, "first", ("MRR", "mAP"))
    monkeypatch.setattr(judging, "AT_ONCE", 1)
    parts, _ = judging.judge(opened, test, "first", ("MRR", "mAP"))
    assert parts == whole
    assert list(parts.languages) == ["q5", "q2", "q7", "q0", "q1"]
    assert (parts.missing, parts.unjudged, parts.without_relevant) == (0, 3, 1)


def test_mkqa_counts_passages_that_hold_an_answer(shell: Shell, work: Path, files: Path) -> None:
    passages = open_workspace(work).passages
    texts = [text for _, text in passages.texts(np.arange(len(passages), dtype=np.uint32))]
    words = texts[0].split()
    rows = (
        example(1, [entity("zzz", " ".join(words[1:3]).upper())], en=texts[0], de="wo"),
        example(2, [entity("no passage holds this")], en="where is it", de="wo ist es"),
        example(3, [{"type": "binary", "text": "yes"}], en="is it", de="ist es"),
        example(4, [entity(words[0][:-1])], en=texts[0], de=texts[3]),
    )
    (files / "mkqa" / "dataset").mkdir(parents=True)
    source = mkqa(files / "mkqa" / "dataset" / "mkqa.jsonl.gz", *rows)
    done = shell("eval", work, "--benchmark", "mkqa", "--round", "first", "--metrics", "Success@1,Success@3,MRR", "--json")
    assert done.code == 0, done.err
    assert "3 of 4 questions count, with 6 queries in 2 languages; published: 6,619 of 10,000" in done.talk
    assert done.json["counts"] == {"de": 3, "en": 3}
    (folder,) = (files.parent / "converted").iterdir()
    queries = open_queries([str(folder / "queries.jsonl")], folder, None, Silent())
    found = retrieve(open_workspace(work), queries, passages, "first", 100)
    answers = {str(row["example_id"]): [text for a in row["answers"]["en"] for text in (a["text"], *a.get("aliases", ()))] for row in rows}
    hits = {
        query: [slow.holds(texts[row], answers[query.partition("_")[0]]) for row in own]
        for query, own in zip(found.query_ids, found.rows.tolist(), strict=True)
    }
    for k in (1, 3):
        assert done.json["per_query"][f"Success@{k}"] == {query: float(any(own[:k])) for query, own in hits.items()}
    assert done.json["without_relevant"] == sum(not any(own) for own in hits.values()) >= 2
    assert sum(any(own) for own in hits.values()) > 0
    both = shell("eval", work, "--benchmark", "mkqa", "--data", source.parent)
    assert both.code == 0, both.err
    assert "Success@100" in both.out
    shown = shell("eval", work, "--benchmark", "mkqa", "--round", "first")
    assert "without a relevant passage" in " ".join(shown.out.split())


def test_what_mkqa_cannot_measure_is_refused(shell: Shell, work: Path, kit: Any, files: Path, tmp_path: Path) -> None:
    (files / "mkqa").mkdir(parents=True)
    mkqa(files / "mkqa" / "mkqa.jsonl.gz", example(1, [entity("Rhine")], en="which"))
    recall = shell("eval", work, "--benchmark", "mkqa", "--metrics", "Success@5,R@20")
    assert recall.code == 2
    assert "mkqa has no R@20: only passages that are found are judged" in recall.talk
    assert "Success@k" in recall.talk
    run = tmp_path / "a.trec"
    run.write_text("1_en Q0 p1 1 1 x\n")
    mixed = shell("eval", work, run, "--benchmark", "mkqa")
    assert mixed.code == 2
    assert "a run has no texts, in which answers could be found" in mixed.talk
    assert "--lang does not belong to mkqa" in shell("eval", work, "--benchmark", "mkqa", "--lang", "en").talk
    assert "needs passages" in shell("eval", kit.bert, "--benchmark", "mkqa").talk
    beside = shell("eval", work / "round-0" / "encoder", "--benchmark", "mkqa", "--passages", kit.passages, "--json")
    assert beside.code == 0, beside.err
    assert beside.json["per_query"] == {"Success@20": {"1_en": 0.0}, "Success@100": {"1_en": 0.0}}


@pytest.mark.data
@pytest.mark.skipif(not SAMPLE.exists(), reason="the shared data are not there")
def test_the_published_sample_of_mkqa_is_measured(shell: Shell, work: Path, files: Path, tmp_path: Path) -> None:
    passages = tmp_path / "passages.jsonl"
    rows = [{"id": "a", "text": "Gladiator was directed by ridley scott."}, {"id": "b", "text": "The Mountain, Hafþór Ju\u0301lı\u0301us"}]
    passages.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shutil.copy(SAMPLE, tmp_path / "mkqa.jsonl.gz")
    call = ("eval", work, "--benchmark", "mkqa", "--data", tmp_path, "--passages", passages, "--round", "first")
    done = shell(*call, "--json")
    assert done.code == 0, done.err
    assert len(done.json["counts"]) == 26
    assert set(done.json["counts"].values()) == {3}
    assert done.json["macro"]["Success@20"] == pytest.approx(1 / 3)
    assert done.json["without_relevant"] == 52
    assert "unknown language" not in done.talk
