from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from umr._rust import Counter, Records
from umr.errors import FormatError, InputError, StorageError, UsageError

from .conftest import rows

Make = Callable[[str], Records]


def test_rows_give_ids_titles_and_texts(passages: Make) -> None:
    found = passages('id\ttext\ttitle\n1\t"a ""b""\nc"\tT\n2\tä\t\n')
    assert len(found) == 2
    assert found.ids(rows(1, 0, 1)) == ["2", "1", "2"]
    assert found.texts(rows(0, 1)) == [("T", 'a "b"\nc'), ("", "ä")]
    assert found.langs(rows(0)) == [""]
    assert found.locate(1)[1] == 4
    assert found.find(["2", "x", "1"]).tolist() == [1, -1, 0]
    assert found.find([]).dtype == np.int64
    assert found.counts() == {"lang_trimmed": 0, "empty_passages": 0, "sources": 0}


def test_keys_depend_on_content_alone(passages: Make) -> None:
    first = passages("1\ttext\tT\n").keys(rows(0))
    second = passages("9\tother\tU\n8\ttext\tT\n").keys(rows(0, 1))
    assert first.dtype == np.uint64
    assert first.shape == (1, 2)
    assert first[0].tolist() == second[1].tolist() != second[0].tolist()


def test_queries_never_show_answers(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": -5, "question": "who", "lang": " ar", "answers": ["gold"], "split": "dev"}\n')
    found = Records.open([str(path)], "queries", str(tmp_path))
    assert found.ids(rows(0)) == ["-5"]
    assert found.texts(rows(0)) == [("", "who")]
    assert found.langs(rows(0)) == ["ar"]
    assert found.counts()["lang_trimmed"] == 1
    assert not [name for name in dir(found) if "answer" in name]


def test_the_source_of_a_query(tmp_path: Path, passages: Make) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": 1, "query": "x", "source": "p 1"}\n{"id": 2, "query": "x"}\n{"id": 3, "query": "x", "source": {}}\n')
    for _ in range(2):  # read, then out of the index
        found = Records.open([str(path)], "queries", str(tmp_path / "cache"))
        assert found.sources(rows(0, 1, 2)) == ["p 1", "", ""]
        assert found.counts()["sources"] == 1
    none = passages("1\ttext\tT\n")
    assert none.sources(rows(0, 0)) == ["", ""]
    with pytest.raises(UsageError, match="row 1"):
        none.sources(rows(1))


def test_the_fingerprint_ignores_paths_and_compression(tmp_path: Path) -> None:
    text = b"1\ta\tT\n"
    (tmp_path / "a.tsv").write_bytes(text)
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(text))
    cache = str(tmp_path / "cache")
    found = [Records.open([str(tmp_path / name)], "passages", cache) for name in ("a.tsv", "b.tsv.gz")]
    assert found[0].fingerprint == found[1].fingerprint
    assert len(found[0].fingerprint) == hashlib.sha256().digest_size * 2


def test_reopening_takes_the_index_and_counts_the_same(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_text("".join(f"{row}\ttext {row}\tT\n" for row in range(5000)))
    for _ in range(2):
        counter = Counter()
        found = Records.open([str(path)], "passages", str(tmp_path / "cache"), counter)
        assert counter.value == len(found) == 5000
        assert found.ids(rows(4999)) == ["4999"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tsv", b"1\ta\tT\n2\tb\n", ["a.tsv:2", "2 columns"]),
        ("a.tsv", b'1\t"a\tT\n', ["a.tsv:1", "never closed"]),
        ("a.tsv", b"1\ta\tT\n1\tb\tU\n", ["a.tsv:2", "a.tsv:1", '"1"']),
        ("a.tsv", b"1\t\xff\tT\n", ["a.tsv:1", "byte 2", "UTF-8"]),
        ("a.jsonl", b'{"id": 1}\n', ["a.jsonl:1", "text, contents, passage, body", "keys are id"]),
        ("a.jsonl", b'{"id": 1, "text": "a"}\n{"id":', ["a.jsonl:2", "JSON"]),
        ("a.tsv.gz", gzip.compress(b"1\ta\tT\n")[:-9], ["a.tsv.gz", "truncated"]),
    ],
)
def test_a_flaw_names_file_line_and_cure(tmp_path: Path, name: str, content: bytes, words: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError) as caught:
        Records.open([str(tmp_path / name)], "passages", str(tmp_path / "cache"))
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.hint


def test_missing_empty_and_folders_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.tsv").touch()
    for name in ("empty.tsv", "missing.tsv", "."):
        with pytest.raises(InputError) as caught:
            Records.open([str(tmp_path / name)], "passages", str(tmp_path / "cache"))
        assert type(caught.value) is InputError
        assert caught.value.hint


def test_a_cache_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_text("1\ta\tT\n")
    with pytest.raises(StorageError, match=r"p\.tsv"):
        Records.open([str(path)], "passages", str(path / "below-a-file"))


def test_typed_questions() -> None:
    found = Records.from_texts(["a"], ["mitä?"], ["fi"])
    assert (found.texts(rows(0)), found.langs(rows(0))) == ([("", "mitä?")], ["fi"])
    with pytest.raises(InputError, match="empty"):
        Records.from_texts(["a"], ["  "], [""])
    with pytest.raises(InputError):
        Records.from_texts([], [], [])
    with pytest.raises(UsageError):
        Records.from_texts(["a"], [], [])


def test_rows_beyond_the_end_and_unknown_kinds_are_usage_errors(passages: Make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="row 1"):
        passages("1\ta\tT\n").ids(rows(1))
    with pytest.raises(UsageError, match="kind"):
        Records.open([str(tmp_path / "passages.tsv")], "things", str(tmp_path))  # type: ignore[arg-type]
