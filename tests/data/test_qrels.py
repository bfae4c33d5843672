"""The reader of judgments: every form it takes, and every row it refuses with the place and a cure."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umr.data.qrels import Qrels, read_qrels
from umr.errors import FormatError, InputError, UmrError

EXPECTED = {"q1": {"en:1": 1, "en:2": 0}, "-7": {"ar:9": 2}}

TREC = "q1 0 en:1 1\nq1 0 en:2 0\n-7 0 ar:9 2\n"
FORMS = {
    "trec": TREC,
    "trec tabs": TREC.replace(" ", "\t"),
    "trec Q0": TREC.replace(" 0 ", "  Q0 "),
    "no last newline": TREC.rstrip(),
    "windows": TREC.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + TREC,
    "blank lines": "\n  \n" + TREC.replace("\n", "\n\n"),
    "same pair twice": TREC + "q1 0 en:1 1\n",
    "three columns": "q1 en:1 1\nq1\ten:2\t0\n-7 ar:9 2\n",
    "beir": "query-id\tcorpus-id\tscore\nq1\ten:1\t1\nq1\ten:2\t0\n-7\tar:9\t2\n",
    "trec with header": "qid\titer\tdocid\trel\n" + TREC.replace(" ", "\t"),
}


def write(folder: Path, data: str | bytes, name: str = "qrels.txt") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
def test_every_form_gives_the_same_judgments(tmp_path: Path, form: str, pack: Callable[[str], bytes]) -> None:
    assert read_qrels(write(tmp_path, pack(FORMS[form]))).grades == EXPECTED


def test_beir_ids_may_hold_spaces(tmp_path: Path) -> None:
    path = write(tmp_path, "query-id\tcorpus-id\tscore\nq 1\tMain Page\t1\n")
    assert read_qrels(path).grades == {"q 1": {"Main Page": 1}}


def test_relevant_are_those_of_grade_one_and_above(tmp_path: Path) -> None:
    qrels = read_qrels(write(tmp_path, "q a 1\nq b 0\nq c -1\nq d 3\n"))
    assert qrels.relevant("q") == {"a", "d"}
    assert qrels.relevant("unknown") == frozenset()
    assert len(qrels) == 1


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("q1 en:1\n", 1, "2 columns"),
        ("q1 0 en:1 1 0.3 tag\n", 1, "6 columns"),
        ("q1 0 en:1 1\nq1 en:2 1\n", 2, "3 columns, expected 4"),
        ("\n\nq1 0 en:1 1\nq1 0 en:2 yes\n", 4, "'yes' is not an integer"),
        ("q1 0 en:1 0.5\n", 1, "'0.5' is not an integer"),
        ("q1 en:1 1001\n", 1, "1001 is beyond 1000"),
        ("q1 en:1 -1001\n", 1, "-1001 is beyond 1000"),
        ("q1 0 en:1 1\nq1 0 en:1 2\n", 2, "have grade 1 and then 2"),
        ("query-id\tcorpus-id\tscore\nq1 en:1 1\n", 2, "1 columns, expected 3"),
        ("query-id corpus-id score\nq1 en:1 1\n", 1, "1 columns"),
        ("query-id\tcorpus-id\tscore\nq1\t\t1\n", 2, "an empty id"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(FormatError) as caught:
        read_qrels(path)
    assert caught.value.message.startswith(f"{path}:{line}: ")
    assert what in caught.value.message
    assert caught.value.hint


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"q1 0 en:1 1\nq1 0 caf\xe9 1\n")
    with pytest.raises(FormatError, match=":2: not UTF-8 at byte 8"):
        read_qrels(path)


@pytest.mark.parametrize("keep", [3, 20, -4])
def test_a_torn_gzip_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path, gzip.compress(TREC.encode())[:keep], "qrels.gz")
    with pytest.raises(FormatError, match="torn gzip"):
        read_qrels(path)


@pytest.mark.parametrize("text", ["", "\n \n", "query-id\tcorpus-id\tscore\n"])
def test_a_file_without_judgments_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="no judgment"):
        read_qrels(write(tmp_path, text))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_qrels(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="Is a directory"):
        read_qrels(str(tmp_path))


IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=5).filter(
    lambda text: text.split() == [text] and text.lower() not in ("qid", "query-id", "query_id") and text[0] != "\ufeff"
)


@given(st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-2, 5), min_size=1, max_size=3), min_size=1, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, grades: dict[str, dict[str, int]]) -> None:
    text = "".join(f"{query} 0 {passage} {grade}\n" for query, row in grades.items() for passage, grade in row.items())
    path = write(tmp_path_factory.mktemp("qrels"), text)
    assert read_qrels(path) == Qrels(grades)


@given(st.binary(max_size=60))
def test_any_bytes_give_judgments_or_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = write(tmp_path_factory.mktemp("qrels"), data)
    with contextlib.suppress(UmrError):
        assert all(read_qrels(path).grades.values())
