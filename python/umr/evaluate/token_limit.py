"""Whether an answer stands in the first N tokens of a question's passages, as the official XOR-Retrieve scorer counts.

The scorer tokenises every passage with NLTK, joins the tokens with spaces and looks for the answer in the first N of them. NLTK adds white
space and rewrites quotation marks, and nothing else: what is left of a text without them must hold what is left of the answer. Only
passages that do are tokenised, and those before them where their number of tokens decides. The tokens are NLTK's own, so the result is
that of the NLTK installed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from math import inf

from umr.errors import MissingExtraError

TEXTS = 1 << 16  # passages whose tokens are remembered; many questions have the same ones
PIECES = re.compile(r"\w+|[^\w\s]")
CONTRACTIONS = re.compile(r"(?i)cannot|gimme|gonna|gotta|lemme|wanna|'tis|'twas")


class _RewrittenError(Exception):
    """The tokenizer changed more than white space and quotation marks."""


@lru_cache(maxsize=1)
def word_tokenizer() -> Callable[[str], list[str]]:
    """NLTK's `word_tokenize` for English.

    Raises:
        MissingExtraError: NLTK or its table of sentence ends is not installed. Nothing is downloaded.
    """
    try:
        from nltk.tokenize import word_tokenize
    except ImportError as error:
        raise MissingExtraError("the official score needs NLTK, which is not installed", "pip install 'umr[xor]'") from error
    try:
        word_tokenize("a")
    except LookupError as error:
        raise MissingExtraError(
            "NLTK is installed without its table `punkt_tab`, which the official score needs",
            "python -m nltk.downloader punkt_tab, or set NLTK_DATA to a folder that has tokenizers/punkt_tab/english",
        ) from error
    return word_tokenize  # type: ignore[no-any-return]


def squeezed(text: str) -> str:
    """A text without white space, with one spelling of quotation marks: what tokenising leaves as it is."""
    return "".join(text.split()).replace('"', "''").replace("`", "'")


@lru_cache(maxsize=TEXTS)
def _tokens(text: str) -> tuple[str, ...]:
    tokens = tuple(word_tokenizer()(text))
    if squeezed("".join(tokens)) != squeezed(text):
        raise _RewrittenError
    return tokens


@lru_cache(maxsize=TEXTS)
def bounds(text: str) -> tuple[int, int]:
    """The fewest and the most tokens that a text can have: its words, and its runs of letters and single other characters, since
    NLTK parts letters in a few contractions alone.
    """
    return len(text.split()), len(PIECES.findall(text)) + len(CONTRACTIONS.findall(text))


def within(texts: Sequence[str], answers: Sequence[str], limits: Sequence[int]) -> list[bool]:
    """Whether an answer stands in the first tokens of the texts, joined by spaces.

    Arguments:
        texts: passages, best first.
        answers: any of them counts; compared as they are written.
        limits: numbers of tokens.

    Returns:
        a value for each limit.

    Raises:
        MissingExtraError: as `word_tokenizer`.
    """
    parts = [squeezed(text) for text in texts]
    whole, ends = "".join(parts), list(accumulate(map(len, parts)))
    try:
        found = [_place(texts, whole, ends, answer, limits) for answer in answers]
    except _RewrittenError:
        found = [_official(texts, answer, max(limits)) for answer in answers]
    return [any(place <= limit for place in found) for limit in limits]


def _official(texts: Sequence[str], answer: str, most: int) -> float:
    """Tokens up to the end of the first place of an answer, the official way: tokens of passage after passage until there are enough."""
    tokens: list[str] = []
    for text in texts:
        tokens += word_tokenizer()(text)
        if len(tokens) >= most:
            break
    return _end(tokens[:most], answer)


def _end(tokens: Sequence[str], answer: str) -> float:
    """How many tokens reach to the end of the first place of an answer; infinity where there is none."""
    joined = " ".join(tokens)
    at = joined.find(answer)
    return inf if at < 0 else joined.count(" ", 0, at + len(answer)) + 1 if answer else 0


def _place(texts: Sequence[str], whole: str, ends: Sequence[int], answer: str, limits: Sequence[int]) -> float:
    """The same, or another number between the same limits, with the tokens of few passages.

    Arguments:
        texts, answer, limits: as `within`.
        whole: all texts squeezed.
        ends: where each of them ends there.
    """
    if answer != answer.strip() or not answer:  # what surrounds it counts: nothing can be left out
        return _official(texts, answer, max(limits))
    wanted, seen = squeezed(answer), (-1, -1)
    at = whole.find(wanted)
    while at >= 0:
        held = bisect_right(ends, at), bisect_right(ends, at + len(wanted) - 1)  # first and last passage of it
        place = _end(_joined(texts[held[0] : held[1] + 1]), answer) if held != seen else inf
        if place < inf:
            return _before(texts[: held[0]], limits, place) + place
        seen, at = held, whole.find(wanted, at + 1)
    return inf


def _before(texts: Sequence[str], limits: Sequence[int], place: float) -> int:
    """How many tokens the texts have, counted only where a limit could lie between the fewest and the most."""
    least, most = (sum(ends) for ends in zip((0, 0), *map(bounds, texts), strict=True))
    sure = all(place + most <= limit or place + least > limit for limit in limits)
    return least if sure else len(_joined(texts))


def _joined(texts: Sequence[str]) -> list[str]:
    return [token for text in texts for token in _tokens(text)]
