"""The language of a passage: its record's, else its file's, else identified from its text (its title where that is blank).

A file says a language with two letters behind `.`, `-` or `_` at the end of its name (`passages.ja.tsv.gz`) or of its
folder's name (`corpus-ja/`). It counts only where a sample of its passages agrees: `part-ab` is not Abkhazian.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records
from umr.data.candidates import PADDING
from umr.languages import identifiable, identify, known_name, stated_language
from umr.progress import Bar, Reporter

CHARACTERS = 1000  # of a passage, which are enough to identify its language
BLOCK = 4096  # passages whose texts are read at once
SAMPLE = 64  # passages of a file whose languages are compared with its name
SHOWN = 6  # files that a message names
ENDING = re.compile(r"(\.(tsv|txt|csv|jsonl|json|ndjson))?(\.gz)?$", re.IGNORECASE)
CODE = re.compile(r"[._-]([a-z]{2})$", re.IGNORECASE)
ALIKE = (
    {"da", "nb", "nn", "no"}, {"bs", "hr", "sh", "sr"}, {"id", "in", "jv", "jw", "ms"}, {"xh", "zu"},
    {"he", "iw"}, {"ff", "fuv"}, {"gn", "gug"}, {"ki", "kik"},
)  # fmt: skip
"""Codes of the same language, and languages that the identifier confuses with each other."""


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


def passage_languages(passages: Records, rows: NDArray[np.uint32], reporter: Reporter) -> tuple[list[str], NDArray[np.int32]]:
    """The languages of some passages; each passage is looked at once.

    Arguments:
        passages: the collection.
        rows: uint32 rows of it, of any shape; PADDING, whose number means nothing.
        reporter: shows the work, and is told how many were identified.

    Returns:
        language codes, ascending, and for each row the place of its code: int32 of the shape of `rows`.
    """
    unique, place = np.unique(rows, return_inverse=True)
    if len(unique) and unique[-1] == PADDING:  # the largest of all; it takes the number of the passage before it
        unique, place = unique[:-1], np.minimum(place, max(0, len(unique) - 2))
    if not len(unique):
        return [], np.zeros(rows.shape, dtype=np.int32)
    with reporter.bar("finding the languages of passages", len(unique), "passages") as bar:
        codes, stated = find_languages(passages, unique, verified_files(passages, files_of(passages), reporter), bar)
    if not stated.all():
        reporter.say(f"{int((~stated).sum()):,} of {len(unique):,} passages state no language: identified from their text")
    names, numbers = np.unique(codes.astype(str), return_inverse=True)
    return names.tolist(), numbers.astype(np.int32)[place].reshape(rows.shape)


def find_languages(
    passages: Records, rows: NDArray[np.uint32], files: Sequence[File], bar: Bar
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """The definition, for the passages of some rows.

    Arguments:
        passages: the collection.
        rows: [m] uint32.
        files: those whose names say their language, from `verified_files`.
        bar: advanced by passages.

    Returns:
        [m] language codes, and [m] whether a record or a file states it.
    """
    codes = np.empty(len(rows), dtype=object)
    stated = np.zeros(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        found = _own(passages, some)
        for file in files:
            found[(some >= file.first) & (some < file.end) & (found == "")] = file.lang
        missing = found == ""
        found[missing] = _identified(passages, some[missing])
        codes[start : start + BLOCK], stated[start : start + BLOCK] = found, ~missing
        bar.advance(len(some))
    return codes, stated


def _own(passages: Records, rows: NDArray[np.uint32]) -> NDArray[np.object_]:
    """The languages that records state; empty where they state none."""
    return np.array([stated_language(code) for code in passages.langs(rows)], dtype=object)


def _identified(passages: Records, rows: NDArray[np.uint32]) -> list[str]:
    return identify([_text(*pair)[:CHARACTERS] for pair in passages.texts(rows)])


def _text(title: str, text: str) -> str:
    return text if text.strip() else title


def files_of(passages: Records) -> list[File]:
    """The files of a collection in order."""
    found: list[File] = []
    first = 0
    while first < len(passages):
        path = passages.locate(first)[0]
        rows = range(first, len(passages))  # those of one file are neighbours
        end = first + bisect_left(rows, True, key=lambda row: passages.locate(row)[0] != path)
        found.append(File(path, file_language(path), first, end))
        first = end
    return found


def file_language(path: str) -> str:
    """The language that a file's name says, else its folder's; empty where neither ends with the code of a known language."""
    for name in (_stem(path), Path(path).parent.name):
        found = CODE.search(name)
        if found and known_name(found[1].lower()):
            return found[1].lower()
    return ""


def _stem(path: str) -> str:
    return ENDING.sub("", Path(path).name)


def verified_files(passages: Records, files: Sequence[File], reporter: Reporter) -> list[File]:
    """Those of the files whose names say a language that a sample of their passages agrees with.

    Arguments:
        passages: the collection.
        files: all of its files.
        reporter: told which names are not used.
    """
    split = {_stem(file.path)[:-2] for file in files if _stem(file.path).endswith("aa")}  # `split` names files -aa, -ab, ...
    named = [file for file in files if file.lang]
    found = [file for file in named if _agrees(file.lang, _sampled(passages, file), _stem(file.path)[:-2] in split)]
    refused = [file for file in named if file not in found]
    if refused:
        shown = ", ".join(f"{Path(file.path).name} ({file.lang})" for file in refused[:SHOWN]) + (", ..." if len(refused) > SHOWN else "")
        reporter.warn(
            f"the names of {len(refused)} files end like a language that their passages are not in, so that theirs are identified: {shown}"
        )
    return found


def _sampled(passages: Records, file: File) -> Counter[str]:
    """The languages of some passages, evenly spread: the records' own, else identified; blank passages have none."""
    rows = np.unique(np.linspace(file.first, file.end - 1, SAMPLE).astype(np.uint32))
    langs = _own(passages, rows)
    blank = np.array([not _text(*pair).strip() for pair in passages.texts(rows)])
    return Counter([*langs[langs != ""], *_identified(passages, rows[(langs == "") & ~blank])])


def _agrees(lang: str, sampled: Counter[str], split: bool) -> bool:
    """Whether passages of these languages can be those of a file of that language.

    Arguments:
        lang: what the name says.
        sampled: languages of some passages.
        split: whether the name may be one of `part-aa`, `part-ab`, ...
    """
    alike = next((group for group in ALIKE if lang in group), {lang})
    if alike & (identifiable() | set(sampled)):
        return 2 * sum(sampled[code] for code in alike) >= sampled.total()
    # The identifier spreads what it does not know over many languages.
    return not split and 2 * max(sampled.values(), default=0) < max(1, sampled.total())
