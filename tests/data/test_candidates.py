"""Candidates and labels on disk: they come back as they were, other tools read them, and damage is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

import tiny
from umr.data.candidates import Candidates, candidates_of, read_candidates
from umr.data.labels import Labels, normalise, read_labels
from umr.data.table import write_columns
from umr.data.workspace import Workspace
from umr.errors import FormatError, InputError, MismatchError


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    made: Workspace = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus", queries=5))
    return made


def equal(a: Candidates, b: Candidates) -> bool:
    return (a.query_ids, a.langs) == (b.query_ids, b.langs) and bool((a.rows == b.rows).all()) and a.scores.tobytes() == b.scores.tobytes()


@pytest.mark.parametrize("k", [1, 4, 12])
def test_candidates_come_back(work: Workspace, k: int) -> None:
    made = tiny.mined(work, k)
    found = candidates_of(work.layout.round(0))
    assert equal(found, made)
    assert (found.rows.dtype, found.scores.dtype) == (np.uint32, np.float32)


def test_labels_come_back(work: Workspace, tmp_path: Path) -> None:
    candidates = tiny.mined(work, 3)
    scores = np.random.default_rng(0).normal(-3, 1, (5, 3)).astype(np.float32)
    Labels(candidates, scores, normalise(scores, 0.1)).write(tmp_path / "labels.parquet", work.passages)
    found = read_labels(tmp_path / "labels.parquet")
    assert equal(found.candidates, candidates)
    assert found.scores.tobytes() == scores.tobytes()
    assert found.labels.tobytes() == normalise(scores, 0.1).tobytes()


def test_the_columns_are_what_other_tools_expect(work: Workspace) -> None:
    made = tiny.mined(work, 3)
    table = parquet.read_table(work.layout.round(0).candidates).to_pydict()
    assert list(table) == ["query_id", "lang", "rank", "passage_id", "passage_row", "retriever_score"]
    assert table["query_id"] == [q for q in made.query_ids for _ in range(3)]
    assert table["rank"] == [1, 2, 3] * 5
    assert table["passage_id"] == [f"p{row}" for row in made.rows.reshape(-1)]


def test_the_same_candidates_are_the_same_bytes(work: Workspace) -> None:
    tiny.mined(work)
    before = work.layout.round(0).candidates.read_bytes()
    tiny.mined(work)
    assert work.layout.round(0).candidates.read_bytes() == before


def test_a_run_names_passages_best_first(work: Workspace) -> None:
    made = tiny.mined(work, 3)
    run = made.run(work.passages)
    assert list(run) == made.query_ids
    assert run["q1"] == [(f"p{row}", float(score)) for row, score in zip(made.rows[1], made.scores[1], strict=True)]


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_candidates(tmp_path / "candidates.parquet")


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda b: b[:-20],
    lambda b: b[: len(b) // 2],
    lambda _: b"",
    lambda _: b"PAR1 not at all",
    lambda b: b[100:],
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(work: Workspace, damage: Callable[[bytes], bytes]) -> None:
    tiny.mined(work)
    path = work.layout.round(0).candidates
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match="not a whole Parquet file") as caught:
        read_candidates(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    with pytest.raises(MismatchError, match="has changed since it was written"):
        candidates_of(work.layout.round(0))


def test_candidates_that_are_gone_are_named(work: Workspace) -> None:
    tiny.mined(work)
    work.layout.round(0).candidates.unlink()
    with pytest.raises(MismatchError, match=r"candidates\.parquet is gone"):
        candidates_of(work.layout.round(0))


COLUMNS = {
    "query_id": ["a", "a", "b", "b"], "lang": ["en"] * 4, "rank": [1, 2, 1, 2],
    "passage_row": np.array([3, 1, 0, 2], dtype=np.uint32), "retriever_score": np.array([1, 0, 1, 0], dtype=np.float32),
}  # fmt: skip


@pytest.mark.parametrize("rank", [[1, 2, 1, 3], [1, 1, 2, 2], [2, 1, 2, 1], [0, 1, 0, 1], [1, 2, 3, 1]])
def test_rows_that_are_not_k_a_query_are_refused(tmp_path: Path, rank: list[int]) -> None:
    path = tmp_path / "candidates.parquet"
    write_columns(path, COLUMNS)
    assert read_candidates(path).rows.tolist() == [[3, 1], [0, 2]]
    write_columns(path, COLUMNS | {"rank": rank})
    with pytest.raises(FormatError, match="not k candidates a query"):
        read_candidates(path)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "candidates.parquet"
    write_columns(path, {name: values for name, values in COLUMNS.items() if name != column})
    with pytest.raises(FormatError, match=f"no column '{column}'"):
        read_candidates(path)


def test_no_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    write_columns(path, {name: values[:0] for name, values in COLUMNS.items()})
    with pytest.raises(FormatError, match="not k candidates a query"):
        read_candidates(path)


@pytest.mark.parametrize("column", ["score", "label"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_label_that_is_not_finite_names_its_query(tmp_path: Path, column: str, value: float) -> None:
    path = tmp_path / "labels.parquet"
    flat = {name: np.zeros(4, dtype=np.float32) for name in ("score", "label")}
    flat[column][2] = value
    write_columns(path, COLUMNS | flat)
    with pytest.raises(FormatError, match="query 'b' is not finite"):
        read_labels(path)
