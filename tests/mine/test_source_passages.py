"""What is left out of the candidates: the passage that a query was made from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import tiny
from train.rig import Notes
from umr.data.queries import open_queries
from umr.mine.select import source_passages

RECORDS = [
    {"id": "q0", "question": "a?", "lang": "en", "source": "p3"},
    {"id": "q1", "question": "b?", "lang": "en"},
    {"id": "q2", "question": "c?", "lang": "en", "source": "not there"},
    {"id": "q3", "question": "d?", "lang": "en", "source": ""},
]


def found(tmp_path: Path, *files: Path) -> tuple[list[int], dict[str, int], str]:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus", 6, 1))
    queries, notes = open_queries([str(f) for f in files], tmp_path / "cache", "en", Notes()), Notes()
    rows, counts = source_passages(replace(work, queries=queries), notes)
    return rows.tolist(), counts, notes.text


def test_rows_and_counts_over_several_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    (tmp_path / "b.tsv").write_text("id\ttext\tlang\tsource\nq4\ta\ten\tp2\nq5\tc\ten\t\n")
    rows, counts, said = found(tmp_path, tmp_path / "a.jsonl", tmp_path / "b.tsv")
    assert rows == [3, -1, -1, -1, 2, -1]
    assert counts == {"source_without": 3, "source_unknown": 1}
    assert "for 3 queries without the field 'source' and 1 that name a passage outside the corpus" in said


def test_nothing_is_said_where_every_query_names_a_passage(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"id": "q0", "question": "x", "source": "p5"}) + "\n")
    assert found(tmp_path, tmp_path / "q.jsonl") == ([5], {"source_without": 0, "source_unknown": 0}, "")
