"""Relevance judgments: which passages answer which query, and how well.

Judgments only measure; nothing in `umr` learns from them, so `evaluate/` and its command alone import this file. Three
forms are read, told apart by the first row, plain or gzip-compressed: TREC (`qid 0 docid grade`), BEIR (tab-separated
under the header `query-id corpus-id score`) and three bare columns (`qid docid grade`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from umr.data.inputs import IR_DATASETS, ir_datasets_of
from umr.errors import FormatError, InputError
from umr.storage import read_lines

HEADERS = ("query-id", "query_id", "qid")
"""First fields that make the first row a header: BEIR's own and the two spellings its converters write."""

GRADE_LIMIT = 1_000
"""Largest grade believed, either sign: real scales end near 5, and trec_eval reserves memory up to the largest."""

FORMS = "expected `qid 0 docid grade`, `qid docid grade`, or BEIR's tab-separated rows under `query-id corpus-id score`"


@dataclass(frozen=True)
class Qrels:
    """Judgments of a set of queries.

    Arguments:
        grades: query id -> {passage id -> grade}; 1 and above is relevant, 0 and below is judged and not relevant.
    """

    grades: Mapping[str, Mapping[str, int]]

    def __repr__(self) -> str:
        return f"Qrels({len(self):,} judged queries)"

    def __len__(self) -> int:
        """Number of judged queries."""
        return len(self.grades)

    def relevant(self, query_id: str) -> frozenset[str]:
        """Ids of the passages relevant to a query: those of grade 1 and above; none for an unknown query."""
        return frozenset(passage for passage, grade in self.grades.get(query_id, {}).items() if grade >= 1)


def read_qrels(path: str | Path) -> Qrels:
    """Reads judgments in TREC, BEIR or three-column form, plain or gzip-compressed (by content, not by name).

    Arguments:
        path: the file, UTF-8; or `irds:` and the id of a data set of ir_datasets.

    Returns:
        The judgments, queries and passages in file order. A pair repeated with the same grade counts once.

    Raises:
        InputError: the file is missing, unreadable, or holds no judgment.
        FormatError: a row has another number of columns than the first or an empty id, a grade is no integer or beyond
            1,000 either way, a pair has two grades, the bytes are not UTF-8, or the gzip stream is torn.
    """
    grades: dict[str, dict[str, int]] = {}
    rows = _ir_datasets_rows(str(path)) if str(path).startswith(IR_DATASETS) else _rows(Path(path))
    for line, query, passage, grade in rows:
        known = grades.setdefault(query, {}).setdefault(passage, grade)
        if known != grade:
            pair = f"query {query!r} and passage {passage!r} have grade {known} and then {grade}"
            raise FormatError(f"{path}:{line}: {pair}", "keep one grade a pair")
    if not grades:
        raise InputError(f"{path}: no judgment in the file", FORMS)
    return Qrels(grades)


def _ir_datasets_rows(name: str) -> Iterator[tuple[int, str, str, int]]:
    """The same of a data set of ir_datasets."""
    data = ir_datasets_of(name)
    if not data.has_qrels():
        raise InputError(f"{name} has no judgments", "name one that has qrels")
    yield from ((number, row.query_id, row.doc_id, row.relevance) for number, row in enumerate(data.qrels_iter(), start=1))


def _rows(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Line, query, passage and grade in order; the first row that is not blank decides the form of all."""
    separator, columns = None, 0
    for line, text in read_lines(path):
        header = not columns and text.split()[0].lower() in HEADERS
        if not columns:
            separator = "\t" if header else None
            columns = len(text.split(separator))
            if columns not in (3, 4):
                raise FormatError(f"{path}:{line}: {columns} columns", FORMS)
        if header:
            continue
        fields = [_unquoted(field.strip()) if "\t" in text else field for field in text.split(separator)]
        if len(fields) != columns:
            raise FormatError(f"{path}:{line}: {len(fields)} columns, expected {columns} as in the first row", FORMS)
        if not (fields[0] and fields[-2]):
            raise FormatError(f"{path}:{line}: an empty id", FORMS)
        yield line, fields[0], fields[-2], _grade(path, line, fields[-1])


def _unquoted(field: str) -> str:
    """A field as csv writers meant it: without the quotes around it, and each doubled quote inside as one."""
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"') if quoted else field


def _grade(path: Path, line: int, field: str) -> int:
    """A grade as an integer within the limit."""
    try:
        grade = int(field)
    except ValueError:
        raise FormatError(f"{path}:{line}: the grade {field!r} is not an integer", FORMS) from None
    if abs(grade) > GRADE_LIMIT:
        raise FormatError(f"{path}:{line}: the grade {grade} is beyond {GRADE_LIMIT}", "is the last column the grade?")
    return grade
