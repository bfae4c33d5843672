"""The language that the name of a file says, and whether its passages bear it out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from umr.data.passage_langs import LETTERS
from umr.languages import identify, is_known
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr._rust import Records

ENDING = re.compile(r"(\.(tsv|txt|csv|jsonl|json|ndjson))?(\.gz)?$", re.IGNORECASE)
CODE = re.compile(r"[._-]([a-z]{2})$", re.IGNORECASE)
CHECKED = 64  # passages of a file whose language is compared with its name
ALIKE = (
    {"da", "nb", "nn", "no"}, {"bs", "hr", "sh", "sr"}, {"id", "in", "jv", "jw", "ms"}, {"xh", "zu"},
    {"he", "iw"}, {"ff", "fuv"}, {"gn", "gug"}, {"ki", "kik"},
)  # fmt: skip
"""Codes that stand for each other, and languages that the identifier takes for each other."""
SHOWN = 6  # files that a message names


@dataclass(frozen=True)
class File:
    """A file of a collection.

    Arguments:
        path: as it was given.
        lang: the language that its name says; empty where it says none.
        first, end: its first row, and the row after its last one.
    """

    path: str
    lang: str
    first: int
    end: int


def files_of(passages: Records) -> list[File]:
    """The files of a collection in order."""
    found: list[File] = []
    first = 0
    while first < len(passages):
        path, low, high = passages.locate(first)[0], first, len(passages)
        while high - low > 1:  # rows of one file are neighbours
            middle = (low + high) // 2
            low, high = (middle, high) if passages.locate(middle)[0] == path else (low, middle)
        found.append(File(path, file_language(path), first, high))
        first = high
    return found


def file_language(path: str) -> str:
    """The language that a file's name ends with before its format (`passages.ja.tsv.gz`), or its folder's name (`corpus-ja/`); else empty.

    Two letters alone are taken for a language, and only those of one that has a name.
    """
    for name in _names(path):
        found = CODE.search(name)
        if found and is_known(found[1].lower()):
            return found[1].lower()
    return ""


def believed(passages: Records, files: list[File], reporter: Reporter) -> list[File]:
    """Those of the files whose names say a language that their passages bear out: `part-ab` is not Abkhazian.

    Arguments:
        passages: the collection.
        files: all of its files.
        reporter: told which names are not believed.
    """
    named = [file for file in files if file.lang]
    counted = {stem for file in files for stem in _counted(file.path)}
    found: list[File] = []
    doubted: list[File] = []
    for file in named:
        borne_out = _borne_out(file.lang, _sampled(passages, file), bool(counted & set(_stems(file.path))))
        (found if borne_out else doubted).append(file)
    if doubted:
        shown = ", ".join(f"{Path(file.path).name} ({file.lang})" for file in doubted[:SHOWN]) + (", ..." if len(doubted) > SHOWN else "")
        reporter.warn(
            f"the names of {len(doubted)} files end like a language that their passages are not in, so that theirs are identified: {shown}"
        )
    return found


def _names(path: str) -> tuple[str, str]:
    return ENDING.sub("", Path(path).name), Path(path).parent.name


def _stems(path: str) -> list[str]:
    """What stands before two letters at the end of a name."""
    return [f"{Path(path).parent}/{name[:-2]}" for name in _names(path)[:1] if CODE.search(name)]


def _counted(path: str) -> list[str]:
    """The same where the letters are `aa`, with which `split` begins to count."""
    return [stem for stem in _stems(path) if _names(path)[0].endswith("aa")]


def _sampled(passages: Records, file: File) -> Counter[str]:
    """The languages of some passages, evenly spread: the records' own, else identified."""
    rows = np.unique(np.linspace(file.first, file.end - 1, CHECKED).astype(np.uint32))
    texts = [text[:LETTERS] for _, text in passages.texts(rows)]
    said = [(lang, text) for lang, text in zip(passages.langs(rows), texts, strict=True) if lang or text.strip()]
    return Counter([lang for lang, _ in said if lang] + identify([text for lang, text in said if not lang]))


def _borne_out(lang: str, sampled: Counter[str], counted: bool) -> bool:
    """Whether passages of these languages can be those of a file of that language.

    Arguments:
        lang: what the name says.
        sampled: languages of some passages.
        counted: whether the name may be one of `part-aa`, `part-ab`, ...
    """
    alike = next((group for group in ALIKE if lang in group), {lang})
    if alike & (_identifiable() | set(sampled)):
        return 2 * sum(sampled[code] for code in alike) >= sampled.total()
    # The identifier spreads what it does not know over many languages.
    return not counted and 2 * max(sampled.values(), default=0) < max(1, sampled.total())


@cache
def _identifiable() -> frozenset[str]:
    """The codes that the identifier can give."""
    from py3langid import rank

    return frozenset(str(code) for code, _ in rank(""))
