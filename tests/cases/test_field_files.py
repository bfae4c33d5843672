"""Files as the field has them: read as they are meant, or refused; never read as something else."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import umr
from umr.errors import FormatError, InputError

PASSAGES = "id\ttext\ttitle\np0\tthe old bridge\tRiver\np1\tthe king\tCity\n"
QUERIES = '{"id": "q0", "question": "who built the bridge?", "lang": "en"}\n'


def opened(folder: Path, passages: str = PASSAGES, queries: str = QUERIES, name: str = "q.jsonl", talk: Any = None) -> Any:
    """A new work folder on these files; nothing is mined."""
    folder.mkdir(exist_ok=True)
    (folder / "p.tsv").write_text(passages, encoding="utf-8")
    (folder / name).write_text(queries, encoding="utf-8")
    encoder = umr.EncoderConfig(model="no/encoder", pooling="mean", similarity="cosine")
    return umr.create_workspace(folder / "work", [str(folder / "p.tsv")], [str(folder / name)], encoder, None, talk)


def rows_of(records: Any) -> list[tuple[str, str, str]]:
    """Id, title and text of every record."""
    rows = np.arange(len(records), dtype=np.uint32)
    return [(name, *pair) for name, pair in zip(records.ids(rows), records.texts(rows), strict=True)]


def shell(*words: object, timeout: float = 60) -> Any:
    """A command in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(Path(umr.__file__).parents[1]), "NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-c", "from umr.cli import main; main()", *(w if isinstance(w, bytes) else str(w) for w in words)]
    return subprocess.run(command, env=env, capture_output=True, timeout=timeout, check=False)


# ---------------------------------------------------------------- queries with answers


def test_the_first_column_of_a_qa_file_is_the_question(tmp_path: Path) -> None:
    text = "who built the old stone bridge\t['King Adel', 'Adel II']\nwho came in winter\t[\"the king's men\"]\nwho knows\t[]\n"
    queries = opened(tmp_path, queries=text, name="nq.qa.csv").queries
    assert queries.texts() == ["who built the old stone bridge", "who came in winter", "who knows"]
    assert queries.ids() == ["0", "1", "2"]
    assert "Adel" not in str(rows_of(queries.records))
    work = umr.open_workspace(tmp_path / "work")
    assert (work.queries.ids(), work.queries.records.find(["2", "3"]).tolist()) == (["0", "1", "2"], [2, -1])


def test_many_questions_with_answers_have_ids_of_their_own(tmp_path: Path) -> None:
    queries = opened(tmp_path, queries="".join(f"who built bridge {i}\t['a', 'b']\n" for i in range(5000)), name="q.csv").queries
    assert queries.ids() == [str(i) for i in range(5000)]
    assert queries.texts()[4321] == "who built bridge 4321"


@pytest.mark.parametrize(
    "text",
    [
        "who built it\t['King Adel']\nq1\twho came\n",  # the first says answers, another does not
        "q0\twho built it\t['King Adel']\n",
        "q0\twho built it\tKing Adel\n",  # no language
    ],
)
def test_a_column_that_is_no_language_and_no_list_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError, match=r"q\.tsv:[12]: "):
        opened(tmp_path, queries=text, name="q.tsv")


# ---------------------------------------------------------------- headers


PASSAGE_HEADERS = [
    "id text title",
    "docid title text",
    "_id text title",
    "text id title",
    "pid passage",
    "title contents doc_id",
    "ID Text",
]


@pytest.mark.parametrize("header", PASSAGE_HEADERS)
def test_passages_are_read_by_the_names_of_their_columns(tmp_path: Path, header: str) -> None:
    values = {"title": "River", **dict.fromkeys(("text", "passage", "contents"), "the old bridge")}
    row = [values.get(name.lower(), "p0") for name in header.split()]
    work = opened(tmp_path, "\t".join(header.split()) + "\n" + "\t".join(row) + "\n")
    assert rows_of(work.passages) == [("p0", "River" if "title" in header else "", "the old bridge")]


@pytest.mark.parametrize(
    "header", ["query_id query lang", "qid question", "lang query _id", "query-id text", "id language question answers"]
)
def test_queries_are_read_by_the_names_of_their_columns(tmp_path: Path, header: str) -> None:
    values = {"lang": "fi", "language": "fi", **dict.fromkeys(("query", "question", "text"), "who built it?"), "answers": "['x']"}
    row = [values.get(name, "q0") for name in header.split()]
    queries = opened(tmp_path, queries="\t".join(header.split()) + "\n" + "\t".join(row) + "\n", name="q.tsv").queries
    assert (queries.ids(), queries.texts()) == (["q0"], ["who built it?"])
    assert queries.langs == ["fi"] or "lang" not in header


@pytest.mark.parametrize("header", ["docid\theading\tarticle", "text\ttitle", "title\ttext\turl", "qid\tquestion", "id\tbody1\ttitle"])
def test_a_header_that_is_not_understood_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(FormatError, match=r"p\.tsv:1: the header .* names no column for the (id|text)"):
        opened(tmp_path, f"{header}\n" + "\t".join("abc"[: header.count("\t") + 1]) + "\n")


def test_a_collection_without_header_and_title_is_read(tmp_path: Path) -> None:
    assert rows_of(opened(tmp_path, "7\tthe old bridge\n8\tid\n").passages) == [("7", "", "the old bridge"), ("8", "", "id")]
    with pytest.raises(FormatError, match=r"p\.tsv:2: 3 columns, expected 2"):
        opened(tmp_path / "other", "7\tthe old bridge\n8\tthe king\tCity\n")


def test_the_first_records_are_shown_once(tmp_path: Path) -> None:
    talk = tiny.Talk()
    opened(tmp_path, talk=talk)
    assert "first passage: id 'p0', title 'River', text 'the old bridge'" in talk.said
    assert "first query: id 'q0', text 'who built the bridge?'" in talk.said
    umr.open_workspace(tmp_path / "work", talk)
    assert sum(line.startswith("first ") for line in talk.said) == 2


# ---------------------------------------------------------------- judgments


def test_quoted_ids_of_judgments_lose_their_quotes_and_the_lost_are_counted(tmp_path: Path) -> None:
    held, name = io.StringIO(), '"Heroes"_(album)'
    rows = [("query-id", "corpus-id", "score"), ("q0", name, 1), ("q0", "p1", 1), ("q0", "p9", 1), ("q0", "p8", 2), ("q0", "p7", 0)]
    csv.writer(held, delimiter="\t", lineterminator="\n").writerows(rows)
    assert '"""Heroes""_(album)"' in held.getvalue()
    (tmp_path / "qrels.tsv").write_text(held.getvalue())
    talk = tiny.Talk()
    work = opened(tmp_path, PASSAGES + '"""Heroes""_(album)"\ta record\tMusic\n')
    test = umr.read_test_set(work, tmp_path / "qrels.tsv", reporter=talk)
    assert test.qrels.grades["q0"] == {name: 1, "p1": 1, "p9": 1, "p8": 2, "p7": 0}
    assert [line for line in talk.warned if "2 of 4 relevant passages are not in the corpus" in line]


def test_quotes_of_a_run_in_white_space_stay(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text('q0 0 "p1" 1\nq0 0 p1 1\n')
    assert umr.read_test_set(opened(tmp_path), tmp_path / "qrels.txt").qrels.grades["q0"] == {'"p1"': 1, "p1": 1}


# ---------------------------------------------------------------- pipes, names


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    opened(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    begin = ("mine", tmp_path / "new", "--encoder", "no/encoder", "--pooling", "mean", "--similarity", "cosine")
    done = shell(*begin, "--passages", tmp_path / "pipe", "--queries", tmp_path / "q.jsonl")
    assert (done.returncode, b"is no regular file" in done.stderr) == (1, True), done.stderr
    read, write = os.pipe()
    os.write(write, PASSAGES.encode())
    os.close(write)
    done = shell(*begin, "--passages", f"/proc/{os.getpid()}/fd/{read}", "--queries", tmp_path / "q.jsonl")
    assert (done.returncode, b"is no regular file" in done.stderr) == (1, True), done.stderr
    os.close(read)
    assert not (tmp_path / "new" / "work.json").exists()


def test_a_pipe_of_judgments_is_no_file(tmp_path: Path) -> None:
    work = opened(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", f"echo 'q0 0 p1 1' > {tmp_path / 'pipe'}"])
    try:
        with pytest.raises(InputError, match="is no regular file"):
            umr.read_test_set(work, tmp_path / "pipe")
    finally:
        writer.kill()
        writer.wait()


def test_a_name_that_is_not_utf8_is_a_usage_error_and_its_file_an_input_error(tmp_path: Path) -> None:
    opened(tmp_path)
    name = os.fsencode(tmp_path) + b"/caf\xe9.tsv"
    Path(os.fsdecode(name)).write_text(PASSAGES)
    begin = ("mine", tmp_path / "new", "--encoder", "no/encoder", "--queries", tmp_path / "q.jsonl", "--passages")
    for words, code in (((name,), 2), ((tmp_path / "c*.tsv",), 1)):
        done = shell(*begin, *words)
        assert done.returncode == code, done.stderr
        assert b"UTF-8" in done.stderr
        assert b"Traceback" not in done.stderr


def test_an_input_that_shrinks_while_it_is_used_is_said(tmp_path: Path) -> None:
    work = opened(tmp_path, "".join(f"{i}\tthe old bridge of the northern river\n" for i in range(5000)))
    os.truncate(tmp_path / "p.tsv", 100)
    for read in (lambda: work.passages.texts(np.array([4999], dtype=np.uint32)), lambda: work.passages.find(["4999"])):
        with pytest.raises(InputError, match=r"p\.tsv shrank while it was read: 100 bytes"):
            read()
