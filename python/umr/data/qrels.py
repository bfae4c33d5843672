"""Relevance judgments: which passages answer which question, and how well.

Judgments only measure; nothing in `umr` learns from them, so `evaluate/` and its command alone import this file. Three
forms are read, told apart by the first row, plain or gzip-compressed: TREC (`qid 0 docid grade`), BEIR (tab-separated
under the header `query-id corpus-id score`) and three bare columns (`qid docid grade`).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from umr.errors import FormatError, InputError

HEADERS = ("query-id", "query_id", "qid")
"""First fields that make the first row a header: BEIR's own and the two spellings its converters write."""

GRADE_LIMIT = 1_000
"""Largest grade believed, either sign: real scales end near 5, and trec_eval reserves memory up to the largest."""

FORMS = "expected `qid 0 docid grade`, `qid docid grade`, or BEIR's tab-separated rows under `query-id corpus-id score`"


@dataclass(frozen=True)
class Qrels:
    """Judgments of a set of questions.

    Arguments:
        grades: question id -> {passage id -> grade}; 1 and above is relevant, 0 and below is judged and not relevant.
    """

    grades: Mapping[str, Mapping[str, int]]

    def __len__(self) -> int:
        """Number of judged questions."""
        return len(self.grades)

    def relevant(self, query_id: str) -> frozenset[str]:
        """Ids of the passages relevant to a question: those of grade 1 and above; none for an unknown question."""
        return frozenset(passage for passage, grade in self.grades.get(query_id, {}).items() if grade >= 1)


@dataclass(frozen=True)
class _Row:
    """One judgment and the line, from 1, that it stands on."""

    line: int
    query: str
    passage: str
    grade: int


def read_qrels(path: str | Path) -> Qrels:
    """Reads judgments in TREC, BEIR or three-column form, plain or gzip-compressed (by content, not by name).

    Arguments:
        path: the file, UTF-8.

    Returns:
        The judgments, questions and passages in file order. A pair repeated with the same grade counts once.

    Raises:
        InputError: the file is missing, unreadable, or holds no judgment.
        FormatError: a row has another number of columns than the first or an empty id, a grade is no integer or beyond
            1,000 either way, a pair has two grades, the bytes are not UTF-8, or the gzip stream is torn.
    """
    path = Path(path)
    grades: dict[str, dict[str, int]] = {}
    for row in _rows(path):
        known = grades.setdefault(row.query, {}).setdefault(row.passage, row.grade)
        if known != row.grade:
            pair = f"question {row.query!r} and passage {row.passage!r} have grade {known} and then {row.grade}"
            raise _torn(path, row.line, pair, "keep one grade a pair")
    if not grades:
        raise InputError(f"{path}: no judgment in the file", FORMS)
    return Qrels(grades)


def _rows(path: Path) -> Iterator[_Row]:
    """Judgments of a file in order; the first row that is not blank decides the form of all."""
    form: tuple[str | None, int] | None = None
    for line, text in _lines(path):
        if form is None:
            form = _form(path, line, text)
            if form[0] is not None:  # a header: no judgment of its own
                continue
        fields = text.split(form[0])
        if len(fields) != form[1]:
            raise _torn(path, line, f"{len(fields)} columns, expected {form[1]} as in the first row", FORMS)
        row = _Row(line, fields[0].strip(), fields[-2].strip(), _grade(path, line, fields[-1]))
        if not (row.query and row.passage):
            raise _torn(path, line, "an empty id", FORMS)
        yield row


def _form(path: Path, line: int, text: str) -> tuple[str | None, int]:
    """Separator (None: any white space) and number of columns that the first row announces."""
    separator = "\t" if text.split()[0].lower() in HEADERS else None
    columns = len(text.split(separator))
    if columns not in (3, 4):
        raise _torn(path, line, f"{columns} columns", FORMS)
    return separator, columns


def _grade(path: Path, line: int, field: str) -> int:
    """A grade as an integer within the limit."""
    try:
        grade = int(field)
    except ValueError:
        raise _torn(path, line, f"the grade {field.strip()!r} is not an integer", FORMS) from None
    if abs(grade) > GRADE_LIMIT:
        raise _torn(path, line, f"the grade {grade} is beyond {GRADE_LIMIT}", "is the last column the grade?")
    return grade


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1, without their ends."""
    for line, raw in enumerate(_bytes(path).splitlines(), start=1):
        try:
            text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _torn(path, line, f"not UTF-8 at byte {error.start} of the line", "save the file as UTF-8") from None
        if text.strip():
            yield line, text


def _bytes(path: Path) -> bytes:
    """The whole file, unpacked when it starts like gzip. Judgments are small: 0.1 GB for all of MS MARCO and MIRACL."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "check the path to the judgments") from None
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise FormatError(f"{path}: torn gzip stream: {error}", "fetch the file again") from None


def _torn(path: Path, line: int, what: str, hint: str) -> FormatError:
    """A FormatError that starts with the place."""
    return FormatError(f"{path}:{line}: {what}", hint)
