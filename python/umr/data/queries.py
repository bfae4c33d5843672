"""Queries: id, text and language, never an answer. Languages come from the records, the user, or an identifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records, fingerprint
from umr.languages import chosen_languages, identify, known_name, language_name, stated_language, suggestion
from umr.progress import Reporter


@dataclass(frozen=True)
class Queries:
    """Unlabelled queries.

    Arguments:
        records: ids and texts, by row.
        langs: a language code for each row.
    """

    records: Records
    langs: list[str]

    def __repr__(self) -> str:
        return f"Queries({len(self):,} in {len(set(self.langs))} languages)"

    def __len__(self) -> int:
        return len(self.records)

    def ids(self) -> list[str]:
        """All ids, in row order."""
        return self.records.ids(_all(self.records))

    def texts(self) -> list[str]:
        """All texts, in row order."""
        return [text for _, text in self.records.texts(_all(self.records))]

    def keys(self) -> NDArray[np.uint64]:
        """Content keys of (text, language): [Q, 2] uint64. Ids do not enter: the same query has one score."""
        texts = zip(self.texts(), self.langs, strict=True)
        digests = [fingerprint(f"{text}\x1f{lang}")[:32] for text, lang in texts]
        return np.array([(int(d[:16], 16), int(d[16:], 16)) for d in digests], dtype=np.uint64).reshape(-1, 2)


def _all(records: Records) -> NDArray[np.uint32]:
    return np.arange(len(records), dtype=np.uint32)


def open_queries(paths: Sequence[str], cache: Path, lang: str | None, reporter: Reporter) -> Queries:
    """Open query files: XOR-TyDi JSONL, BEIR JSONL or TSV, gzip or not.

    Arguments:
        paths: existing files.
        cache: folder of the index.
        lang: the language of every query; several (`es,ar,ja`) or None: the record's own, else identified, among these.
        reporter: told what was repaired, identified or unknown.

    Raises:
        InputError, FormatError: see docs/inputs.md.
    """
    asked = chosen_languages(lang)
    cache.mkdir(parents=True, exist_ok=True)
    records = Records.open(list(paths), "queries", str(cache))
    trimmed = records.counts().get("lang_trimmed", 0)
    if trimmed:
        reporter.say(f"repaired {trimmed:,} language codes with white space around them")
    return Queries(records, _languages(records, asked, reporter))


def typed_query(text: str, lang: str | None, reporter: Reporter) -> Queries:
    """One query typed by a person.

    Arguments:
        text: of the query.
        lang: its language code; several or None: identified, among these.
        reporter: told what was identified.
    """
    asked = chosen_languages(lang)
    found = asked[0] if len(asked) == 1 else identify([text], asked)[0]
    if len(asked) != 1:
        reporter.say(f"the query looks like {language_name(found)} ({found}; --lang sets another)")
    return Queries(Records.from_texts(["typed"], [text], [found]), [found])


def _languages(records: Records, asked: Sequence[str], reporter: Reporter) -> list[str]:
    langs = list(asked) * len(records) if len(asked) == 1 else _identified(records, asked, reporter)
    for code, count in Counter(langs).items():
        if not known_name(code):
            meant = f"; {meant}?" if (meant := suggestion(code)) else ""
            reporter.warn(f"unknown language {code!r} ({count:,} queries): the code itself goes into the prompt{meant}")
    return langs


def _identified(records: Records, among: Sequence[str], reporter: Reporter) -> list[str]:
    langs = [stated_language(code) for code in records.langs(_all(records))]
    missing = [row for row, code in enumerate(langs) if not code]
    if missing:
        texts = [text for _, text in records.texts(np.array(missing, dtype=np.uint32))]
        for row, code in zip(missing, identify(texts, among), strict=True):
            langs[row] = code
        found = Counter(langs[row] for row in missing).most_common(8)
        reporter.say(
            f"{len(missing):,} queries carry no language; identified: {', '.join(f'{c} {n:,}' for c, n in found)} (--lang sets one)"
        )
    return langs
