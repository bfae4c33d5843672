"""`umr eval` over work folders, encoders and TREC runs, and the score of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umr.data.qrels import read_qrels
from umr.data.trec import read_rankings
from umr.data.workspace import open_workspace
from umr.errors import FormatError, InputError, UsageError
from umr.evaluate import token_limit, xor_retrieve
from umr.exchange import benchmarks

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


def test_scores_by_language_go_into_the_card_in_the_place_of_older_ones(shell: Shell, work: Path, qrels: Path, tmp_path: Path) -> None:
    path = work / "round-0" / "encoder" / "README.md"
    written = path.read_text(encoding="utf-8")
    for metric in ("MRR", "R@1"):
        path.write_text(path.read_text(encoding="utf-8") + "\n## By hand\n\nStays.\n", encoding="utf-8")
        done = shell("eval", work, "--qrels", qrels, "--metrics", metric, "--card", "--json")
        assert done.code == 0, done.err
    text = path.read_text(encoding="utf-8")
    after = list(done.json["systems"].values())[-1]
    assert text.startswith(written.rstrip())
    assert text.count("## Scores") == 1
    assert text.count("Stays.") == 2
    assert "**gold.qrels**" in text
    assert "MRR" not in text.partition("## Scores")[2]
    assert f"| macro | 8 | {100 * after['macro']['R@1']:.1f} |" in text
    assert shell("status", work).code == 0
    assert shell("mine", work, "--round", "1", "--top-k", "4").code == 0, "a card that has changed is no damage"
    run = lists_of(tmp_path / "good.trec", work, "p{}".format)
    for names, said in (([run], "--card is for one work folder"), ([work, "--round", "first"], "for an encoder that umr trained")):
        refused = shell("eval", *names, "--qrels", qrels, "--card")
        assert (refused.code, said in refused.err) == (2, True), refused.err


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


@pytest.mark.parametrize(
    ("form", "sign"), [("markdown", "| --- | ---: |"), ("latex", r"\begin{tabular}"), ("csv", "system before,system after,language")]
)
def test_tables_for_papers(shell: Shell, work: Path, qrels: Path, form: str, sign: str) -> None:
    done = shell("eval", work, "--qrels", qrels, "--metrics", "R@1", "--format", form)
    assert done.code == 0, done.err
    assert sign in done.out


def test_work_folders_of_other_passages_are_not_compared(shell: Shell, work: Path, kit: Any, qrels: Path, tmp_path: Path) -> None:
    lines = kit.passages.read_text(encoding="utf-8").splitlines(keepends=True)
    fewer = tmp_path / kit.passages.name
    fewer.write_text("".join(lines[:-1]), encoding="utf-8")
    other = tmp_path / "other"
    made = shell("mine", other, "--passages", fewer, "--queries", kit.queries, *kit.encoder, "--top-k", 2)
    assert made.code == 0, made.err
    done = shell("eval", work, other, "--qrels", qrels, "--round", "first")
    assert done.code == 1
    assert f"{other} has other passages than {work}" in done.talk
    assert "--passages" in done.talk
    named = shell("eval", work, other, "--qrels", qrels, "--round", "first", "--passages", fewer, "--metrics", "R@1", "--json")
    assert named.code == 0, named.err
    one, two = named.json["systems"].values()
    assert one["per_query"] == two["per_query"]


def test_a_run_counts_as_deep_as_an_encoder_is_asked_and_what_is_left_out_is_said(shell: Shell, work: Path, tmp_path: Path) -> None:
    qrels, run = tmp_path / "q.qrels", tmp_path / "r.trec"
    qrels.write_text("q1 0 p1 1\nq9 0 p1 1\n")
    run.write_text("".join(f"q1 Q0 x{n} - {200 - n} t\n" for n in range(5)) + "q1 Q0 p1 - 0.5 t\n")
    queries = tmp_path / "few.tsv"
    queries.write_text("q1\twhich?\tde\n")
    deep = shell("eval", run, "--qrels", qrels, "--queries", queries, "--metrics", "MRR", "--json")
    assert deep.json["macro"]["MRR"] == pytest.approx(1 / 6)
    assert "1 judged queries are not among the 1 queries: left out" in deep.talk
    cut = shell("eval", run, "--qrels", qrels, "--queries", queries, "--metrics", "MRR", "--top-k", 5, "--json")
    assert cut.json["macro"]["MRR"] == 0.0
    assert "the first 5 passages of each query count" in cut.talk


@pytest.mark.parametrize(
    "call",
    [("--benchmark", "miracl/sw", "--qrels", "q"), ("--benchmark", "xor-retrieve", "--metrics", "R@1"), ("--mteb", "T", "--qrels", "q"),
     ("--qrels", "q", "--gold", "g"), ("--mteb", "T", "--format", "csv"), ("--mteb", "T", "--top-k", 5)],
)  # fmt: skip
def test_options_of_another_kind_of_evaluation_are_refused(shell: Shell, work: Path, call: tuple[str, ...]) -> None:
    done = shell("eval", work, *call)
    assert done.code == 2
    assert "does not belong to" in done.talk


def test_what_is_nothing_or_lacks_its_passages_is_refused(shell: Shell, kit: Any, qrels: Path, tmp_path: Path) -> None:
    done = shell("eval", tmp_path / "nothing", "--qrels", qrels)
    assert done.code == 1
    assert "is not a work folder, an encoder or a TREC run" in done.talk
    done = shell("eval", kit.bert, "--qrels", qrels)
    assert done.code == 2
    assert "needs passages" in done.talk
    assert "--passages" in done.talk
    assert "nothing to measure" in shell("eval").talk
    typo = shell("eval", "runs-typo/a.trec", "--qrels", qrels)
    assert typo.code == 1
    assert "or a TREC run" in typo.talk
    nothing = shell("eval", kit.bert, "--qrels", qrels, "--passages", "nosuchfile", "--queries", kit.queries)
    assert nothing.code == 1
    assert "no passages at" in nothing.talk


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
    unknown = shell("eval", work, "--benchmark", "trec-covid")
    assert unknown.code == 2
    assert "miracl/{ar,bn," in unknown.talk
    assert "umr eval --benchmark xor-retrieve" in shell("eval", "--benchmark", "miracl/sw").talk
    assert "needs --gold" in shell("eval", work, "--benchmark", "xor-retrieve").talk


def test_xor_full_writes_what_readers_take(shell: Shell, work: Path, tmp_path: Path) -> None:
    passages = open_workspace(work).passages
    ((_, text),) = passages.texts(np.array([3], dtype=np.uint32))
    gold = tmp_path / "gold.jsonl"
    gold.write_text(
        json.dumps({"id": "x1", "question": text, "lang": "fi", "answers": [text.split()[0].upper(), "yes"]}) + "\n", encoding="utf-8"
    )
    done = shell("eval", work, "--benchmark", "xor-full", "--gold", gold, "--top-k", 4, "--json")
    assert done.code == 0, done.err
    (row,) = json.loads(Path(done.json["predictions"]).read_text())
    assert (row["q_id"], row["lang"], row["question"]) == ("x1", "fi", text)
    assert row["answers"] == [text.split()[0].upper(), "yes"]
    assert [set(passage) for passage in row["ctxs"]] == [{"id", "title", "text", "score", "has_answer"}] * 4
    scores = [float(passage["score"]) for passage in row["ctxs"]]
    assert scores == sorted(scores, reverse=True)
    held = {passage["id"]: passage["has_answer"] for passage in row["ctxs"]}
    assert {passage["id"]: text.split()[0].casefold() in passage["text"].casefold() for passage in row["ctxs"]} == held


def test_a_benchmark_is_measured_from_its_published_files(
    shell: Shell, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "benchmarks" / "miracl" / "anywhere"
    missing = shell("eval", work, "--benchmark", "miracl/sw")
    assert missing.code == 1
    assert "no passages (miracl-corpus-v1.0-sw/docs-*.jsonl.gz), no queries (topics.miracl-v1.0-sw-dev.tsv)" in missing.talk
    assert str(folder.parent) in missing.talk
    assert "miracl/miracl-corpus" in missing.talk
    corpus = folder / "miracl-corpus-v1.0-sw"
    corpus.mkdir(parents=True)
    (corpus / "docs-0.jsonl").write_text("".join(json.dumps({"docid": f"d{n}", "title": "", "text": f"maji {n}"}) + "\n" for n in range(4)))
    (folder / "topics.miracl-v1.0-sw-dev.tsv").write_text("1\tmaji 2\n")
    (folder / "qrels.miracl-v1.0-sw-dev.tsv").write_text("1\tQ0\td2\t1\n")
    other = shell("eval", work, "--benchmark", "miracl/sw")
    assert other.code == 1
    assert "1 queries, 1 judgments, checksum" in other.talk
    assert "published: 482 queries, 5,092 judgments, checksum 7188c6b7a220" in other.talk
    monkeypatch.setitem(benchmarks.MIRACL, "sw", benchmarks.whole_of({"1": {"d2": 1}}))
    done = shell("eval", work, "--benchmark", "miracl/sw", "--round", "first", "--json")
    assert done.code == 0, done.err
    assert done.json["counts"] == {"sw": 1}
    assert list(done.json["macro"]) == ["nDCG@10", "R@100"]
    assert done.json["macro"]["R@100"] == 1.0


@pytest.mark.parametrize("family", ["miracl", "mrtydi"])
def test_published_judgments_are_what_they_are_known_by(family: str) -> None:
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / "xor"
    if not data.is_dir():
        pytest.skip("the shared data are not there")
    known = benchmarks.FAMILIES[family]
    for part, whole in known.parts.items():
        names = known.files["qrels"][0].format(part=part, language="") + ("" if family == "mrtydi" else "*")
        (path,) = (data / {"miracl": "miracl-v1.0", "mrtydi": "mrtydi-v1.1"}[family]).glob(names)
        assert benchmarks.whole_of(read_qrels(path).grades) == whole, part


def test_a_beir_folder_is_a_benchmark_and_its_neighbour_is_not(tmp_path: Path) -> None:
    for data in ("arguana", "scifact"):
        for name in ("corpus.jsonl", "queries.jsonl.gz", "qrels/test.tsv"):
            path = tmp_path / data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
    for folder in (tmp_path, tmp_path / "scifact"):
        found = benchmarks.find_benchmark("beir/scifact", folder)
        files = [Path(one).relative_to(tmp_path) for one in (*found.passages, *found.queries, found.qrels)]
        assert [str(file) for file in files] == ["scifact/corpus.jsonl", "scifact/queries.jsonl.gz", "scifact/qrels/test.tsv"]
    found.require_whole({"any": {"thing": 1}})
    (tmp_path / "scifact" / "old").mkdir()
    (tmp_path / "scifact" / "old" / "corpus.jsonl").write_text("")
    with pytest.raises(InputError, match="passages of several copies"):
        benchmarks.find_benchmark("beir/scifact", tmp_path)
    with pytest.raises(UsageError, match="there is no benchmark 'beir'"):
        benchmarks.find_benchmark("beir")
