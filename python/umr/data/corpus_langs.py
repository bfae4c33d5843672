"""The languages of all passages of a collection (`passage_langs`), found once and kept in the work folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records
from umr.data.passage_langs import CHARACTERS, SAMPLE, File, files_of, find_languages, verified_files
from umr.data.table import read_table, write_blocks
from umr.layout import WorkLayout
from umr.manifest import Growing, digest
from umr.progress import Reporter

AGAIN = "remove that file: the languages are found again"
SHOWN = 12  # languages that a message names
PART = 65536  # passages in one file of languages, the unit of restart


@dataclass(frozen=True)
class Languages:
    """The language of every passage.

    Arguments:
        codes: the language codes that occur, ascending.
        numbers: [n] int32, for each passage the place of its code.
        fingerprint: of the passages and of how their languages were found.
        stated: the codes that a record or the name of a file says; the others were identified alone.
    """

    codes: tuple[str, ...]
    numbers: NDArray[np.int32]
    fingerprint: str
    stated: frozenset[str] = frozenset()

    def of(self, rows: NDArray[Any]) -> list[str]:
        """The language codes of some rows."""
        return [self.codes[number] for number in self.numbers[rows]]

    def counts(self) -> Counter[str]:
        """Passages of each language."""
        return Counter(dict(zip(self.codes, np.bincount(self.numbers, minlength=len(self.codes)).tolist(), strict=True)))


def corpus_languages(passages: Records, layout: WorkLayout, reporter: Reporter) -> Languages:
    """The languages of all passages, found part by part at the first call and read afterwards.

    Arguments:
        passages: the collection.
        layout: where they are kept.
        reporter: shows the work, and is told the languages when they are found.

    Raises:
        StorageError: the folder cannot be written.
        MismatchError, FormatError: a file has changed or is damaged.
    """
    files = files_of(passages)
    made_from = {
        "passages": passages.fingerprint, "files": [(file.lang, file.end - file.first) for file in files], "sample": SAMPLE,
        "identifier": f"py3langid {version('py3langid')}", "characters": CHARACTERS,
    }  # fmt: skip
    identity = digest(made_from)
    folder = layout.languages(identity)
    parts = [folder / f"part-{start // PART:05d}.parquet" for start in range(0, len(passages), PART)]
    known = Growing(folder / "manifest.json", "languages", made_from, {})
    if all(known.has(part, AGAIN) for part in parts):
        return _read(parts, identity)
    _find(passages, files, parts, known, reporter)
    languages = _read(parts, identity)
    counts = languages.counts()
    often = ", ".join(f"{code} {number:,}" for code, number in counts.most_common(SHOWN)) + (", ..." if len(counts) > SHOWN else "")
    reporter.say(f"passages in {len(counts)} languages (of the record, its file, or identified): {often}")
    return languages


def _find(passages: Records, files: list[File], parts: list[Path], known: Growing, reporter: Reporter) -> None:
    """Write the parts that an earlier run has not finished."""
    verified = verified_files(passages, files, reporter)
    with reporter.bar("finding the languages of passages", len(passages), "passages") as bar:
        for number, part in enumerate(parts):
            rows = np.arange(number * PART, min(len(passages), (number + 1) * PART), dtype=np.uint32)
            if known.has(part, AGAIN):
                bar.advance(len(rows))
                continue
            codes, stated = find_languages(passages, rows, verified, bar)
            write_blocks(part, [{"lang": codes, "stated": stated}])
            known.add(part)


def _read(parts: list[Path], identity: str) -> Languages:
    import pyarrow as pa

    table = pa.concat_tables([read_table(part, ("lang", "stated")) for part in parts]).unify_dictionaries().combine_chunks()
    column = table["lang"].chunk(0)
    codes, place = np.unique(column.dictionary.to_pylist(), return_inverse=True)
    numbers = place.astype(np.int32)[column.indices.to_numpy()]
    stated = codes[np.unique(numbers[table["stated"].to_numpy()])]
    return Languages(tuple(codes.tolist()), numbers, identity, frozenset(stated.tolist()))
