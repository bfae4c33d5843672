"""TREC runs: what is written comes back, and what is no run is refused by its line."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from train.rig import Notes
from umr.data.candidates import PADDING, Candidates
from umr.data.trec import read_run, write_run
from umr.data.workspace import Workspace
from umr.errors import FormatError, InputError


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("trec")
    made: Workspace = tiny.workspace(folder / "work", tiny.tiny_corpus(folder / "corpus", 12, 4))
    return made


def read(work: Workspace, path: Path, notes: Notes | None = None, **depth: int) -> SimpleNamespace:
    rows, scores, counts = read_run(path, work.queries.records, work.passages, notes or Notes(), **depth)
    return SimpleNamespace(rows=rows, scores=scores, counts=counts)


def file(folder: Path, text: str) -> Path:
    path = folder / "some.run"
    path.write_text(text, encoding="utf-8")
    return path


@given(seed=st.integers(0, 2**32 - 1))
def test_a_run_that_was_written_comes_back(work: Workspace, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(12)[:5] for _ in range(4)]).astype(np.uint32)
    scores = -np.sort(-rng.normal(0, 10.0 ** rng.integers(-8, 8), rows.shape).astype(np.float32), axis=1)
    short = np.arange(5) >= np.array([[5], [0], [3], [1]])
    candidates = Candidates(
        work.queries.ids(), work.queries.langs, np.where(short, PADDING, rows).astype(np.uint32), np.where(short, -np.inf, scores)
    )
    path = tmp_path_factory.mktemp("run") / "made.run"
    write_run(path, candidates, work.passages, "tag")
    lines = path.read_text().splitlines()
    assert len(lines) == 9
    assert lines[0].split()[:4] == ["q0", "Q0", f"p{rows[0, 0]}", "1"]
    assert lines[0].endswith(" tag")
    found = read(work, path)
    assert found.rows.tobytes() == candidates.rows.tobytes()
    assert found.scores.tobytes() == candidates.scores.astype(np.float32).tobytes()
    assert found.counts == {"lines": 9, "unknown_queries": 0, "unknown_passages": 0, "cut": 0, "missing": 1}


def test_scores_decide_then_ranks_then_lines(work: Workspace, tmp_path: Path) -> None:
    text = "q1 Q0 p3 9 1.5 x\nq0 Q0 p1 2 0.5 x\n\nq1 Q0 p4 0 1.5 x\nq1\tQ0  p5 0 1.5 x\nq1 Q0 p6 1 2 x\n"
    found = read(work, file(tmp_path, text))
    assert found.rows.tolist() == [[1, *[PADDING] * 3], [6, 4, 5, 3], [PADDING] * 4, [PADDING] * 4]
    packed = tmp_path / "packed.run"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read(work, packed).rows.tobytes() == found.rows.tobytes()


def test_what_is_of_other_collections_is_counted_and_said(work: Workspace, tmp_path: Path) -> None:
    notes = Notes()
    found = read(work, file(tmp_path, "q0 Q0 p1 1 1 x\nnobody Q0 nothing 1 1 x\nq0 Q0 nothing 2 0 x\n"), notes)
    assert found.counts == {"lines": 1, "unknown_queries": 1, "unknown_passages": 1, "cut": 0, "missing": 3}
    assert "1 lines; left out 1 of unknown queries and 1 of unknown passages; 3 queries have none" in notes.text
    with pytest.raises(InputError, match="no line has a query and a passage of the work folder"):
        read(work, file(tmp_path, "nobody Q0 p1 1 1 x\n"))


def test_lists_are_cut_at_a_depth(work: Workspace, tmp_path: Path) -> None:
    notes, path = Notes(), file(tmp_path, "".join(f"q0 Q0 p{i} 1 {i} x\n" for i in range(9)) + "q2 Q0 p1 1 1 x\nq2 Q0 p2 1 0 x\n")
    found = read(work, path, notes, depth=3)
    assert found.rows.tolist() == [[8, 7, 6], [PADDING] * 3, [1, 2, PADDING], [PADDING] * 3]
    assert found.scores.tolist() == [[8, 7, 6], [-np.inf] * 3, [1, 0, -np.inf], [-np.inf] * 3]
    assert found.counts == {"lines": 5, "unknown_queries": 0, "unknown_passages": 0, "cut": 6, "missing": 2}
    assert "5 lines; left out 0 of unknown queries and 0 of unknown passages, 6 behind the first 3 of a list; 2 queries" in notes.text
    assert read(work, path).rows.shape == (4, 9)


def test_a_run_is_written_part_by_part(work: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(12, dtype=np.uint32).reshape(4, 3)
    candidates = Candidates(work.queries.ids(), work.queries.langs, rows, np.full((4, 3), 0.5, dtype=np.float32))
    write_run(tmp_path / "whole.run", candidates, work.passages)
    monkeypatch.setattr("umr.data.candidates.QUERIES", 3)
    write_run(tmp_path / "parts.run", candidates, work.passages)
    assert (tmp_path / "parts.run").read_bytes() == (tmp_path / "whole.run").read_bytes()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q0 Q0 p1 1 1", r"some\.run:2: 5 columns"),
        ("q0 Q0 p1 1 1 x y", r"some\.run:2: 7 columns"),
        ("q0 Q0 p1 first 1 x", r"some\.run:2: the rank 'first' is not an integer"),
        ("q0 Q0 p1 99999999999999999999 1 x", r"some\.run:2: the rank 9{20} is beyond 64 bits"),
        ("q0 Q0 p1 1 high x", r"some\.run:2: the score 'high' is not a number"),
        ("q0 Q0 p1 1 nan x", r"some\.run:2: the score nan is not finite"),
        ("q0 Q0 p1 1 -inf x", r"some\.run:2: the score -inf is not finite"),
        ("q0 Q0 p1 1 1e39 x", r"some\.run:2: the score 1e39 is not finite"),
        ("q3 Q0 p2 8 0.5 x", r"some\.run:2: query 'q3' has passage 'p2' a second time, first on line 1"),
    ],
)
def test_what_is_no_run_is_refused_by_its_line(work: Workspace, tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read(work, file(tmp_path, f"q3 Q0 p2 1 2 x\n{line}\n"))
    assert caught.value.hint


def test_what_cannot_be_read(work: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.run: cannot be read"):
        read(work, tmp_path / "none.run")
    with pytest.raises(InputError, match="no line in the run"):
        read(work, file(tmp_path, "\n"))
    (tmp_path / "latin.run").write_bytes(b"q0 Q0 p\xe9 1 1 x\n")
    with pytest.raises(FormatError, match=r"latin\.run:1: not UTF-8"):
        read(work, tmp_path / "latin.run")
    (tmp_path / "torn.run").write_bytes(gzip.compress(b"q0 Q0 p1 1 1 x\n" * 99)[:-9])
    with pytest.raises(FormatError, match=r"torn\.run: torn gzip"):
        read(work, tmp_path / "torn.run")


def test_a_tag_with_white_space_is_refused(work: Workspace, tmp_path: Path) -> None:
    candidates = Candidates(["q0"], ["en"], np.zeros((1, 1), dtype=np.uint32), np.zeros((1, 1), dtype=np.float32))
    with pytest.raises(FormatError, match="'my tag' holds white space"):
        write_run(tmp_path / "x.run", candidates, work.passages, "my tag")
    assert not (tmp_path / "x.run").exists()
