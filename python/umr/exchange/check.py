"""`umr data check`: what is in files of passages and queries, by language, before hours are spent on them."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np

from umr._rust import Records
from umr.languages import identify, stated_language
from umr.progress import Reporter

BLOCK = 4096  # records whose texts are read at once
LETTERS = 200  # of a text, by which its script is told
NEARLY_EMPTY = {"passages": 20, "queries": 4}  # characters of a text below which it says next to nothing
SAMPLE = 2000  # untagged records whose language is identified
SHOWN = 3  # examples of a finding
UNTAGGED = "untagged"
SCRIPTS = {
    "Latn": ("LATIN",), "Arab": ("ARABIC",), "Cyrl": ("CYRILLIC",), "Grek": ("GREEK",), "Deva": ("DEVANAGARI",), "Thai": ("THAI",),
    "Beng": ("BENGALI",), "Telu": ("TELUGU",), "Taml": ("TAMIL",), "Hebr": ("HEBREW",), "Khmr": ("KHMER",), "Mymr": ("MYANMAR",),
    "Geor": ("GEORGIAN",), "Armn": ("ARMENIAN",), "Ethi": ("ETHIOPIC",), "Sinh": ("SINHALA",), "Gujr": ("GUJARATI",),
    "Guru": ("GURMUKHI",), "Knda": ("KANNADA",), "Mlym": ("MALAYALAM",), "Laoo": ("LAO",), "Kore": ("HANGUL", "CJK"),
    "Jpan": ("HIRAGANA", "KATAKANA", "CJK"), "Hans": ("CJK", "BOPOMOFO"), "Hant": ("CJK", "BOPOMOFO"),
}  # fmt: skip
"""Scripts of CLDR, and how the names of their letters begin in Unicode."""
DAMAGED = re.compile("\ufffd|[ÃÂ][\x80-\xbf]|â€|ï»¿|[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""What a wrong encoding leaves: replacement characters, UTF-8 read as Latin-1, a second byte order mark, control characters."""
MARKUP = re.compile(r"</?[a-z][^<>]{0,80}>|&(amp|lt|gt|quot|nbsp|#\d+);|\[\[[^\]]+\]\]", re.IGNORECASE)

Kind = Literal["passages", "queries"]


@dataclass
class Found:
    """What the records of one language are like.

    Arguments:
        records: their number.
        lengths: the median and the 99th percentile of their characters, and the longest.
        empty, nearly_empty: without text, and with so little that it says nothing.
        duplicates: whose text, without case and white space, came before.
        other_script: most letters are of another script than the language's.
        damaged: what a wrong encoding leaves.
        markup: tags and entities.
        copies: of queries, equal to the title or text of a passage.
    """

    records: int = 0
    lengths: tuple[int, int, int] = (0, 0, 0)
    empty: int = 0
    nearly_empty: int = 0
    duplicates: int = 0
    other_script: int = 0
    damaged: int = 0
    markup: int = 0
    copies: int = 0


@dataclass
class Check:
    """What a collection is like.

    Arguments:
        kind: passages or queries.
        languages: by tag.
        examples: finding -> path, line and id of the first records of that kind.
        sample: identified languages of untagged records -> their share.
    """

    kind: Kind
    languages: dict[str, Found]
    examples: dict[str, list[tuple[str, int, str]]] = field(default_factory=dict)
    sample: dict[str, float] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def normal(text: str) -> str:
    """A text without what does not tell texts apart: case, white space, and forms of the same letter (NFKC)."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def keys_of(texts: Sequence[str]) -> list[int]:
    """64 bits that stand for each text as `normal` leaves it."""
    return [hash(normal(text)) for text in texts]


@cache
def scripts_of(lang: str) -> tuple[str, ...]:
    """How the names of a language's letters begin; empty where that is not known."""
    from babel.core import get_global

    parts = lang.replace("-", "_").split("_")
    named = next((part.title() for part in parts[1:] if len(part) == 4), "")
    likely = str(get_global("likely_subtags").get(parts[0].lower(), "")).split("_")
    return SCRIPTS.get(named or (likely[1] if len(likely) > 1 else ""), ())


@cache
def _name(letter: str) -> str:
    return unicodedata.name(letter, "")


def is_other_script(text: str, lang: str) -> bool:
    """Whether more than half of a text's first letters are of another script than the language's."""
    expected = scripts_of(lang)
    names = [_name(letter) for letter in text[:LETTERS] if letter.isalpha()]
    return bool(expected) and bool(names) and 2 * sum(name.startswith(expected) for name in names) < len(names)


def check(records: Records, kind: Kind, reporter: Reporter, known: set[int] | None = None) -> Check:
    """Look at every record of a collection.

    Arguments:
        records: passages or queries.
        kind: which of them.
        reporter: shows the progress.
        known: `keys_of` the titles and texts of passages; those of passages are put in, queries that copy one are found by them.

    Returns:
        what was found, by language tag.
    """
    made = Check(kind, defaultdict(Found))
    lengths: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    seen: set[int] = set()
    untagged: list[str] = []
    every, known = max(1, len(records) // SAMPLE), set() if known is None else known
    with reporter.bar(f"checking {kind}", len(records), kind) as bar:
        for start in range(0, len(records), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(records)), dtype=np.uint32)
            pairs = records.texts(rows)
            texts = [text for _, text in pairs]
            tags = [stated_language(tag) or UNTAGGED for tag in records.langs(rows)]
            for row, text, tag, key in zip(rows.tolist(), texts, tags, keys_of(texts), strict=True):
                lengths[tag].append(len(text))
                for finding in _findings(text, tag, kind, key in seen, kind == "queries" and key in known):
                    found = made.languages[tag]
                    setattr(found, finding, getattr(found, finding) + 1)
                    _example(made, finding, records, row)
                if text.strip():
                    seen.add(key)
            untagged += [text for row, text, tag in zip(rows.tolist(), texts, tags, strict=True) if tag == UNTAGGED and row % every == 0]
            if kind == "passages":
                known.update(keys_of([title for title, _ in pairs if title.strip()]))
            bar.advance(len(rows))
    for tag, characters in sorted(lengths.items()):
        made.languages[tag].records = len(characters)
        made.languages[tag].lengths = _spread(characters)
    if kind == "passages":
        known.update(seen)
    made.languages = dict(sorted(made.languages.items()))
    counts = Counter(identify([text[:1000] for text in untagged if text.strip()]))
    made.sample = {lang: n / sum(counts.values()) for lang, n in counts.most_common(8)}
    return made


def _findings(text: str, tag: str, kind: Kind, again: bool, copied: bool) -> Iterator[str]:
    """The names of what is wrong with a record."""
    if not text.strip():
        yield "empty"
        return
    found = {
        "nearly_empty": len(text.strip()) < NEARLY_EMPTY[kind], "duplicates": again, "copies": copied,
        "other_script": tag != UNTAGGED and is_other_script(text, tag),
        "damaged": DAMAGED.search(text), "markup": MARKUP.search(text),
    }  # fmt: skip
    yield from (name for name, value in found.items() if value)


def _example(made: Check, finding: str, records: Records, row: int) -> None:
    places = made.examples.setdefault(finding, [])
    if len(places) < SHOWN:
        places.append((*records.locate(row), records.ids(np.array([row], dtype=np.uint32))[0]))


def _spread(lengths: Sequence[int]) -> tuple[int, int, int]:
    middle, high = np.percentile(lengths, [50, 99])
    return round(middle), round(high), max(lengths)
