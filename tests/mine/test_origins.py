"""The passage that a query was made from, read beside the compiled core."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from train.rig import Notes
from umr.data.queries import open_queries
from umr.mine import origins
from umr.mine.origins import read_origins

RECORDS = [
    {"id": "q0", "question": "a?", "lang": "en", "source": "p3"},
    {"id": "q1", "question": "b?", "lang": "en"},
    {"source": "p1", "_id": "q2", "id": "not this", "text": 'a "source" of\nwater', "lang": "en"},
    {"id": "q3", "question": "c?", "lang": "en", "source": "not there"},
    {"id": "q4", "question": "d?", "lang": "en", "source": None},
    {"id": 5, "question": "e?", "lang": "en", "source": "p0"},
    {"id": "q6", "question": "f?", "lang": "en", "source": ""},
    {"id": "q7", "question": 'the "source" of it', "lang": "en"},
]


def found(tmp_path: Path, *files: Path) -> tuple[list[int], dict[str, int], str]:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus", 6, 1))
    queries, notes = open_queries([str(f) for f in files], tmp_path / "cache", "en", Notes()), Notes()
    rows, counts = read_origins([str(f) for f in files], queries.records, work.passages, notes)
    return rows.tolist(), counts, notes.text


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["q.jsonl", "q"])
def test_jsonl(tmp_path: Path, packed: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\ufeff" + "".join(json.dumps(r) + "\n\n" for r in RECORDS)
    path = tmp_path / (name + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    monkeypatch.setattr(origins, "BLOCK", 2)
    rows, counts, said = found(tmp_path, path)
    assert rows == [3, -1, 1, -1, -1, 0, -1, -1]
    assert counts == {"without": 4, "unknown": 1}
    assert "for 4 queries without the field 'source' and 1 that name a passage outside the corpus" in said


def test_tsv_with_a_header_that_names_it_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('id\ttext\tlang\tsource\nq0\t"a\nb"\ten\tp2\nq1\tc\ten\t\n')
    (tmp_path / "b.tsv").write_text("q2\tc\ten\nq3\td\ten\n")
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "q4", "question": "x", "source": "p5"}) + "\n")
    rows, counts, _ = found(tmp_path, *(tmp_path / name for name in ("a.tsv", "b.tsv", "c.jsonl")))
    assert rows == [2, -1, -1, -1, 5]
    assert counts == {"without": 3, "unknown": 0}


def test_nothing_is_said_where_every_query_names_a_passage(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"id": "q0", "question": "x", "source": "p5"}) + "\n")
    whole: Any = found(tmp_path, path)
    assert whole == ([5], {"without": 0, "unknown": 0}, "")
