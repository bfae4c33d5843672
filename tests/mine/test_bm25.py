"""BM25: words of any script, scores as the formula gives them, and the package that may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiny
from reference import candidates as slow
from train.rig import Notes
from umr.data.candidates import PADDING
from umr.errors import InputError, MissingExtraError
from umr.mine import bm25
from umr.mine.bm25 import Bm25, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The river, the CITY's 2nd", ["the", "river", "the", "city", "s", "2nd"]),
        ("Straße ｆｕｌｌ", ["strasse", "full"]),
        ("हिन्दी में नदी", ["हिन्दी", "में", "नदी"]),
        ("النَّهر القديم", ["النَّهر", "القديم"]),
        ("古老桥梁", ["古老", "老桥", "桥梁"]),
        ("桥 of 河流", ["桥", "of", "河流"]),
        ("カタカナ語", ["カタ", "タカ", "カナ", "ナ語"]),
        ("น้ำ", ["น้", "้ํ", "ํา"]),
        ("_ - ! \n", []),
        ("snake_case", ["snake", "case"]),
        ("한국어 문장", ["한국어", "문장"]),
    ],
)
def test_words_of_any_script(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize("seed", range(4))
def test_scores_and_order_are_those_of_the_formula(tmp_path: Path, seed: int) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus", 30, 8, seed=seed, words=6)
    work = tiny.workspace(tmp_path / "work", corpus)
    texts = work.queries.texts()
    source = Bm25(work.passages, texts, Notes())
    rows = np.arange(30, dtype=np.uint32)
    documents = [words(f"{title} {text}") for title, text in work.passages.texts(rows)]
    for depth in (1, 5, 30):
        found = source.find(np.array([5, 0, 7]), depth)
        for place, query in enumerate((5, 0, 7)):
            scores = slow.bm25(documents, words(texts[query]))
            order = sorted((row for row in range(30) if scores[row] > 0), key=lambda row: (-np.float32(scores[row]), row))[:depth]
            taken = found.rows[place][found.rows[place] != PADDING]
            assert len(taken) == len(order)
            np.testing.assert_allclose([scores[row] for row in taken], [scores[row] for row in order], rtol=1e-5)
            np.testing.assert_allclose(found.scores[place, : len(order)], [scores[row] for row in taken], rtol=1e-5)
            assert np.isneginf(found.scores[place, len(order) :]).all()


def test_equal_scores_are_ordered_by_row_and_strangers_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("".join(f"p{i}\t{'stone bridge' if i % 2 else 'old song'}\t\n" for i in range(20)))
    (tmp_path / "q.tsv").write_text("q0\tbridge\nq1\tnothing known\nq2\t!?\n")
    work = tiny.workspace(tmp_path / "work", tiny.TinyCorpus(tmp_path / "p.tsv", tmp_path / "q.tsv"), lang="en")
    found = Bm25(work.passages, work.queries.texts(), Notes()).find(np.arange(3), 4)
    assert found.rows.tolist() == [[1, 3, 5, 7], [PADDING] * 4, [PADDING] * 4]


def test_a_corpus_without_words_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("p0\t!\t\np1\t?\t\n")
    (tmp_path / "q.tsv").write_text("q0\tbridge\n")
    work = tiny.workspace(tmp_path / "work", tiny.TinyCorpus(tmp_path / "p.tsv", tmp_path / "q.tsv"), lang="en")
    assert Bm25(work.passages, ["bridge"], Notes()).find(np.arange(1), 2).rows.tolist() == [[PADDING] * 2]


class Bars(Notes):
    """Notes every bar and how far it came."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: dict[str, list[float]] = {}

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Any]:
        self.bars[what] = [total, 0.0]
        yield SimpleNamespace(advance=lambda items: self.bars[what].__setitem__(1, self.bars[what][1] + items))


def test_the_index_is_made_when_it_is_searched_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "READ_PASSAGES", 4)
    work, bars = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus", 30, 8)), Bars()
    source = Bm25(work.passages, work.queries.texts(), bars)
    assert bars.bars == {}
    source.find(np.arange(8), 3)
    assert set(bars.bars) == {"splitting passages into words", "making the BM25 index", "searching with BM25"}
    assert all(done == pytest.approx(total) for total, done in bars.bars.values())


def test_a_corpus_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.tsv").write_text("".join(f"p{i}\tone two three\t\n" for i in range(50)))
    (tmp_path / "q.tsv").write_text("q0\tone\n")
    work = tiny.workspace(tmp_path / "work", tiny.TinyCorpus(tmp_path / "p.tsv", tmp_path / "q.tsv"), lang="en")
    for sample in (7, 1, 4096):
        monkeypatch.setattr(bm25, "SAMPLE_PASSAGES", sample)
        monkeypatch.setattr(bm25, "free_memory", lambda _: 30 * 150)
        Bm25(work.passages, ["one"], Notes())
        monkeypatch.setattr(bm25, "free_memory", lambda _: 30 * 150 - 1)
        with pytest.raises(InputError, match="the BM25 index of 50 passages takes about") as caught:
            Bm25(work.passages, ["one"], Notes())
        assert "--run" in caught.value.hint


def test_the_package_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    passages: Any = None
    monkeypatch.setattr(bm25, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="bm25s") as caught:
        Bm25(passages, [], Notes())
    assert caught.value.hint == "pip install 'umr[bm25]'"
