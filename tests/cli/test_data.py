"""`umr data check` and `umr data export` from the shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umr.cli.data import kind_of
from umr.run_file import read_tables

Shell = Callable[..., Any]


def test_files_are_checked_without_a_work_folder(shell: Shell, kit: Any) -> None:
    done = shell("data", "check", kit.passages, kit.queries, "--json")
    assert done.code == 0, done.err
    assert sum(one["records"] for one in done.json["passages"]["languages"].values()) == 9
    assert sum(one["records"] for one in done.json["queries"]["languages"].values()) == 8
    shown = shell("data", "check", kit.passages, "--as", "passages")
    assert "passages" in shown.out
    assert "queries" not in shown.out


def test_what_is_wrong_stands_with_file_and_line(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"id": "a", "text": "One sentence of a passage.", "lang": "ru"}\n', encoding="utf-8")
    shown = shell("data", "check", path)
    assert "other script: own.jsonl:1 (a)" in shown.out
    path.write_text('{"id": "a", "text": 3', encoding="utf-8")
    broken = shell("data", "check", path)
    assert broken.code == 1
    assert "own.jsonl:1" in broken.talk


@pytest.mark.parametrize(
    ("name", "first", "kind"),
    [
        ("a.jsonl", '{"id": 1, "text": "x"}', "passages"), ("a.jsonl", '{"id": 1, "question": "x"}', "queries"),
        ("a.tsv", "id\ttext\ttitle", "passages"), ("a.tsv", "id\tquery\tlang", "queries"), ("topics.tsv", "1\twho", "queries"),
        ("nq.qa.csv", "who\t['x']", "queries"), ("collection.tsv", "1\tthe question of", "passages"),
    ],
)  # fmt: skip
def test_kinds_are_told_by_names_and_fields(tmp_path: Path, name: str, first: str, kind: str) -> None:
    path = tmp_path / name
    path.write_text(first + "\n", encoding="utf-8")
    assert kind_of(path) == kind


def test_labels_are_exported(shell: Shell, work: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = shell("data", "export", work, "--out", out, "--form", "tevatron", "--keep", 3, "--json")
    assert done.code == 0, done.err
    assert done.json == {"round": 0, "queries": 8, "file": str(out)}
    assert [len(json.loads(line)["negative_passages"]) for line in out.read_text().splitlines()] == [2] * 8
    none = shell("data", "export", work, "--out", out, "--round", 3)
    assert none.code == 1
    assert "no labelled round 3" in none.talk


def test_the_trained_encoder_is_exported(shell: Shell, work: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install 'umr[onnx]'")
    done = shell("data", "export", work, "--form", "onnx", "--out", tmp_path / "onnx", "--json")
    assert done.code == 0, done.err
    assert done.json == {"encoder": str(work / "round-0" / "encoder"), "folder": str(tmp_path / "onnx")}
    assert (tmp_path / "onnx" / "umr_onnx.json").exists()
    for call, code, said in (
        ((work / "round-0" / "encoder",), 1, "is there already, and is not written over"),
        ((work, "--round", 3), 1, "no trained round 3"), ((work, "--keep", 3), 2, "--keep, and --round without a work folder"),
        ((work / "round-0" / "encoder", "--round", 0), 2, "--keep, and --round without a work folder"),
    ):  # fmt: skip
        refused = shell("data", "export", *call, "--form", "onnx", "--out", tmp_path / "onnx")
        assert (refused.code, said in refused.talk) == (code, True), refused.talk


def test_a_data_set_of_ir_datasets_is_named_like_a_file(shell: Shell, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ir_datasets = pytest.importorskip("ir_datasets")
    from ir_datasets.formats import GenericDoc, GenericQuery

    class Small:
        docs_lang = queries_lang = staticmethod(lambda: "sw")
        has_docs = has_queries = staticmethod(lambda: True)
        docs_iter = staticmethod(lambda: iter(GenericDoc(f"d{n}", f"maji ya mto {n}") for n in range(4)))
        queries_iter = staticmethod(lambda: iter([GenericQuery("q1", "maji yako wapi?")]))

    monkeypatch.setattr(ir_datasets, "load", lambda name: {"small": Small()}[name])
    mined = shell("mine", tmp_path / "work", "--passages", "irds:small", "--queries", "irds:small", *kit.encoder, "--top-k", 2)
    assert mined.code == 0, mined.err
    assert shell("mine", tmp_path / "work", "--top-k", 2).code == 0, "a second call finds what was written"
    checked = shell("data", "check", "irds:small", "--as", "passages", "--json")
    assert checked.json["passages"]["languages"]["sw"]["records"] == 4
    file = tmp_path / "run.toml"
    file.write_text('work = "other"\npassages = ["irds:small"]\nqueries = ["irds:small"]\n')
    assert read_tables(file)["passages"] == ("irds:small",)


def test_a_parquet_file_is_checked(shell: Shell, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": ["a"], "text": ["the old bridge of stone"], "lang": ["en"]}), tmp_path / "own.parquet")
    assert shell("data", "check", tmp_path / "own.parquet", "--json").json["passages"]["languages"]["en"]["records"] == 1
