"""Passages that hold an answer, against the slow twin, and DPR's own expression."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference import answers as slow
from umr._rust import Records
from umr.data.candidates import PADDING, Candidates
from umr.evaluate.answers import answered, tokens

SIGNS = st.text(st.sampled_from("aAée\u0301ΣσςİiıßǅＡ中文 _-.'’\u00a0\u200b\n\tक्ष١2²½"), max_size=12) | st.text(max_size=12)


@given(SIGNS, st.lists(SIGNS, max_size=3))
@example("ΑΣ.Α ΑΣ", ["ας"])
@example("The café\u0301 in 2017-05-18.", ["2017-05", "Cafe\u0301\u0301"])
@example("the rapper", ["rap"])
@example("anything", ["", " \u200b"])
def test_tokens_and_holding_are_those_of_the_slow_twin(passage: str, answers: list[str]) -> None:
    assert tokens(passage).split(" ")[1:-1] == (slow.tokens(passage) or [""])
    assert any(one.strip() and one in tokens(passage) for one in map(tokens, answers)) == slow.holds(passage, answers)


@given(SIGNS, SIGNS, SIGNS)
def test_a_passage_holds_what_stands_in_it_between_spaces(before: str, answer: str, after: str) -> None:
    assert slow.holds(f"{before} {answer} {after}", [answer.upper().lower(), answer]) == bool(slow.tokens(answer))


def test_every_sign_is_taken_as_dpr_takes_it() -> None:
    regex = pytest.importorskip("regex", reason="comes with transformers")
    word, sign = regex.compile(r"[\p{L}\p{N}\p{M}]+"), regex.compile(r"[^\p{Z}\p{C}]")
    for one in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(one) in ("Cn", "Cs") or unicodedata.normalize("NFD", one) != one:  # of other versions of Unicode
            continue
        expected = "a a" if not sign.match(one) else f"a{one}a" if word.match(one) else f"a {one} a"
        assert tokens(f"a{one}a") == f" {expected.lower()} ", hex(ord(one))


def test_every_query_is_judged_by_the_text_of_what_was_found() -> None:
    passages = Records.from_texts(["p0", "p1", "p2", "p3"], ["It opened in 1999.", "Opened 19990 times", "none", "\u200b"], [""] * 4)
    rows = np.array([[0, 1, 2], [1, 2, PADDING], [0, 1, 3]], dtype=np.uint32)
    scores = np.where(rows == PADDING, -np.inf, 1.0).astype(np.float32)
    found = Candidates(["a", "b", "c"], ["en"] * 3, rows, scores)
    answers = {"a": ("1999", "in 1999"), "b": ("1999",), "c": ("\u200b", "")}
    assert answered(found, passages, answers) == {"a": {"p0": 1}, "b": {}, "c": {}}
