"""Candidates and labels on disk: they come back as they were, other tools read them, and damage is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

import tiny
from umr.data.candidates import PADDING, Candidates, Provenance, candidates_of, distinct_passages, read_candidates
from umr.data.labels import Labels, read_labels
from umr.data.table import read_columns, write_blocks
from umr.data.workspace import Workspace
from umr.errors import FormatError, InputError, MismatchError, UsageError
from umr.label.combine import normalise


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


@pytest.mark.parametrize("queries", [1, 2, 5])
def test_parts_are_row_groups_of_one_table(work: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queries: int) -> None:
    made = tiny.mined(work, 3)
    made.rows[0], made.scores[0] = PADDING, -np.inf  # no passage id in the first part
    ranks = np.where(made.present, np.arange(15).reshape(5, 3) % 4, 0).astype(np.uint32)[None]
    scores = np.where(ranks > 0, np.float32(2), np.float32(np.nan))
    made = Candidates(made.query_ids, made.langs, made.rows, made.scores, Provenance(("bm25",), ranks, scores))
    made.write(tmp_path / "whole.parquet", work.passages)
    monkeypatch.setattr("umr.data.candidates.QUERIES", queries)
    made.write(tmp_path / "parts.parquet", work.passages)
    assert parquet.ParquetFile(tmp_path / "parts.parquet").num_row_groups == -(-5 // queries)
    assert parquet.read_table(tmp_path / "parts.parquet").equals(parquet.read_table(tmp_path / "whole.parquet"))
    found = read_candidates(tmp_path / "parts.parquet")
    assert equal(found, made)
    assert found.provenance is not None
    assert found.provenance.ranks.tobytes() == ranks.tobytes()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(1, 7))
def test_every_so_many_rows_are_read_across_row_groups(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], every: int) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.parquet"
    ends = np.cumsum(sizes)
    write_blocks(path, ({"a": np.arange(end - size, end)} for size, end in zip(sizes, ends, strict=True)))
    assert read_columns(path, ["a"], every)["a"].tolist() == list(range(0, int(ends[-1]), every))


def test_a_block_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def blocks() -> Iterator[dict[str, np.ndarray]]:
        yield {"a": np.arange(3)}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_blocks(tmp_path / "a.parquet", blocks())
    assert not list(tmp_path.iterdir())


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
    write_blocks(path, [COLUMNS])
    assert read_candidates(path).rows.tolist() == [[3, 1], [0, 2]]
    write_blocks(path, [COLUMNS | {"rank": rank}])
    with pytest.raises(FormatError, match="not k candidates a query"):
        read_candidates(path)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "candidates.parquet"
    write_blocks(path, [{name: values for name, values in COLUMNS.items() if name != column}])
    with pytest.raises(FormatError, match=f"no column '{column}'"):
        read_candidates(path)


def test_no_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    write_blocks(path, [{name: values[:0] for name, values in COLUMNS.items()}])
    with pytest.raises(FormatError, match="not k candidates a query"):
        read_candidates(path)


@pytest.mark.parametrize("column", ["score", "label"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_label_that_is_not_finite_names_its_query(tmp_path: Path, column: str, value: float) -> None:
    path = tmp_path / "labels.parquet"
    flat = {name: np.zeros(4, dtype=np.float32) for name in ("score", "label")}
    flat[column][2] = value
    write_blocks(path, [COLUMNS | flat])
    with pytest.raises(FormatError, match="query 'b' is not finite"):
        read_labels(path)


@given(st.lists(st.lists(st.integers(0, 9) | st.just(PADDING), min_size=3, max_size=3), max_size=6))
def test_distinct_passages_lead_back_to_the_rows(listed: list[list[int]]) -> None:
    rows = np.array(listed, dtype=np.uint32).reshape(-1, 3)
    passages, places = distinct_passages(rows, 10)
    assert passages.tolist() == sorted({row for own in listed for row in own} - {PADDING})
    assert places.dtype == np.uint32
    back = np.append(passages, np.uint32(PADDING))[np.minimum(places, len(passages))]
    assert np.array_equal(back, rows)


def test_a_row_beyond_the_corpus_is_refused() -> None:
    with pytest.raises(UsageError, match="row 10 of 10 passages"):
        distinct_passages(np.array([[3, 10]], dtype=np.uint32), 10)
