"""Passages that hold an answer, by the tokens of DPR (Karpukhin et al. 2020, arXiv 2004.04906; its SimpleTokenizer).

A text is decomposed (NFD). A token is a run of letters, numbers and marks, or one other sign, not a space or control; in lower case.
A passage, without its title, holds an answer whose tokens stand in it in a row.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby

import numpy as np

from umr._rust import Records
from umr.data.candidates import PADDING, Candidates

Answers = Mapping[str, Sequence[str]]
"""Query id -> answers."""


@cache
def _token() -> re.Pattern[str]:
    return re.compile(f"[{_class('LMN')}]+|[{_class('PS')}]")


def _class(kinds: str) -> str:
    """Ranges of the characters whose category in Unicode begins with one of these letters."""
    runs = groupby(range(sys.maxunicode + 1), lambda code: unicodedata.category(chr(code))[0] in kinds)
    ends = ((run[0], run[-1]) for run in (list(codes) for there, codes in runs if there))
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ends)


def tokens(text: str) -> str:
    """The tokens of a text, each between spaces: those of an answer are part of the text's where they stand there in a row."""
    return f" {' '.join(_token().findall(unicodedata.normalize('NFD', text))).lower()} "


def answered(found: Candidates, passages: Records, answers: Answers) -> dict[str, dict[str, int]]:
    """Judgments of what was found: of every query, grade 1 for the passages that hold an answer; none where no one does.

    Arguments:
        found: by any encoder.
        passages: the corpus.
        answers: of the queries; one without a token is in no passage.
    """
    grades = dict[str, dict[str, int]]()
    for _, part in found.parts():
        rows = np.unique(part.rows[part.present])
        held = zip(passages.ids(rows), (tokens(text) for _, text in passages.texts(rows)), strict=True)
        of = dict(zip(rows.tolist(), held, strict=True))
        for query, own in zip(part.query_ids, part.rows.tolist(), strict=True):
            wanted = [one for one in map(tokens, answers.get(query, ())) if one.strip()]
            grades[query] = {of[row][0]: 1 for row in own if row != PADDING and any(one in of[row][1] for one in wanted)}
    return grades
