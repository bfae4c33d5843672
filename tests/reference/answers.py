"""Whether a passage holds an answer, as DPR's definition reads: token by token, sign by sign."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def tokens(text: str) -> list[str]:
    found: list[str] = []
    open_word = False
    for sign in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(sign)[0]
        if kind in "LMN":
            if open_word:
                found[-1] += sign
            else:
                found.append(sign)
        elif kind in "PS":
            found.append(sign)
        open_word = kind in "LMN"
    return [token.lower() for token in found]


def holds(passage: str, answers: Sequence[str]) -> bool:
    held = tokens(passage)
    for answer in answers:
        wanted = tokens(answer)
        if any(wanted and held[at : at + len(wanted)] == wanted for at in range(len(held))):
            return True
    return False
