"""Repeated passages: the same text, nearly the same text, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import candidates as slow
from umr.data.candidates import PADDING
from umr.mine import duplicates
from umr.mine.duplicates import Duplicates, _alike, normal, shingles

TEXTS = st.text(alphabet="abc é河流แม่น้ำ\U00020000", max_size=30)


class Passages:
    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs, self.read = pairs, 0

    def __len__(self) -> int:
        return len(self.pairs)

    def texts(self, rows: Any) -> list[tuple[str, str]]:
        self.read += len(rows)
        return [self.pairs[row] for row in rows]


@given(TEXTS, TEXTS)
def test_likeness_is_the_jaccard_similarity_of_runs_of_letters(a: str, b: str) -> None:
    a, b = normal("", a), normal("", b)
    assert _alike([shingles(a)], [shingles(b)]).tolist() == [[slow.jaccard(a, b) >= 0.8]]
    assert len(shingles(a)) == len({a.replace(" ", "")[i : i + 5] for i in range(max(1, len(a.replace(" ", "")) - 4))})


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("The  Old\nBridge", "the old bridge ", True),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width", True),
        ("straße", "STRASSE", True),
        ("the old bridge", "the old bridges", False),
        ("the old bridge", "der alte Brücke", False),
    ],
)
def test_the_same_text_but_for_case_forms_and_spaces(a: str, b: str, same: bool) -> None:
    passages: Any = Passages(("one", a), ("two", b))
    rows = np.array([[0, 1], [1, 0], [1, PADDING]], dtype=np.uint32)
    found = Duplicates(passages, "exact").first(rows, rows != PADDING, 9)
    assert found.tolist() == [[True, not same], [True, not same], [True, False]]


def test_passages_without_text_are_told_by_their_titles() -> None:
    passages: Any = Passages(("one", ""), ("two", " "), ("ONE", ""))
    rows = np.array([[0, 1, 2]], dtype=np.uint32)
    for kind in ("exact", "near"):
        assert Duplicates(passages, kind).first(rows, rows != PADDING, 9).tolist() == [[True, True, False]]


def test_what_does_not_count_hides_nothing() -> None:
    passages: Any = Passages(("", "same"), ("", "same"), ("", "same"))
    rows, keep = np.array([[0, 1, 2]], dtype=np.uint32), np.array([[False, True, True]])
    for kind in ("exact", "near"):
        assert Duplicates(passages, kind).first(rows, keep, 9).tolist() == [[False, True, False]]
    assert Duplicates(passages, "off").first(rows, keep, 9).tolist() == keep.tolist()


@pytest.mark.parametrize("block", [1, 2, 256])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(duplicates, "COMPARED_PASSAGES", block)
    texts = [("", f"a stone bridge over the old river number {i // 2}" + "s" * (i % 2)) for i in range(12)]
    passages: Any = Passages(*texts, *texts)
    rows = np.random.default_rng(1).permutation(24)[None].astype(np.uint32)
    found = Duplicates(passages, "near").first(rows, rows != PADDING, 99)[0]
    kept: list[str] = []
    for row, new in zip(rows[0], found, strict=True):
        text = normal(*passages.pairs[row])
        assert new == (not any(slow.jaccard(text, other) >= 0.8 for other in kept))
        kept += [text] if new else []


def test_a_passage_is_read_once() -> None:
    passages: Any = Passages(*[("", f"text {i % 3}") for i in range(6)])
    exact = Duplicates(passages, "exact")
    rows = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], dtype=np.uint32)
    for _ in range(3):
        assert exact.first(rows, rows != PADDING, 9).tolist() == [[True, True, True, False]] * 2
    assert passages.read == 4


def test_shingles_are_made_once() -> None:
    passages: Any = Passages(*[("", f"some text {i % 4} of a bridge {'over the river' * (i % 4)}") for i in range(8)])
    near = Duplicates(passages, "near")
    rows = np.array([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [7, 6, 5, 0, 1, 2]], dtype=np.uint32)
    for _ in range(2):
        assert near.first(rows, rows != PADDING, 9).tolist() == [[True] * 4 + [False] * 2] * 3
    assert passages.read == 8


def test_a_changed_word_of_a_long_passage_is_nearly_the_same_and_a_translation_is_not() -> None:
    text = " ".join(f"word{i} of a long passage" for i in range(30))
    passages: Any = Passages(("", text), ("", text.replace("word7", "other7")), ("", "ein ganz anderer langer Text " * 20))
    rows = np.array([[0, 1, 2]], dtype=np.uint32)
    assert Duplicates(passages, "near").first(rows, rows != PADDING, 9).tolist() == [[True, False, True]]
    assert Duplicates(passages, "near").first(rows, rows != PADDING, 1).tolist() == [[True, True, True]]  # nothing behind is looked at
