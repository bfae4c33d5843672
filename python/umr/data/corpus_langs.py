"""The language of every passage of a collection: its record's, its file's, or identified once and kept."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.data.passage_langs import LETTERS, STEP
from umr.errors import FormatError
from umr.languages import identify, is_known
from umr.layout import WorkLayout
from umr.manifest import checksums, read_manifest, require_whole, write_manifest
from umr.progress import Reporter
from umr.storage import beside

if TYPE_CHECKING:
    from umr._rust import Records

SHOWN = 12  # languages that a message names
PART = 65536  # passages in one file of languages, the unit of restart
ENDING = re.compile(r"(\.(tsv|txt|csv|jsonl|json|ndjson))?(\.gz)?$", re.IGNORECASE)
CODE = re.compile(r"[._-]([a-z]{2})$", re.IGNORECASE)


@dataclass(frozen=True)
class Languages:
    """The language of every passage.

    Arguments:
        codes: the language codes that occur, ascending.
        numbers: [n] int32, for each passage the place of its code.
        fingerprint: of the passages and of how their languages were found.
    """

    codes: tuple[str, ...]
    numbers: NDArray[np.int32]
    fingerprint: str

    def of(self, rows: NDArray[Any]) -> list[str]:
        """The language codes of some rows."""
        return [self.codes[number] for number in self.numbers[rows]]

    def counts(self) -> Counter[str]:
        """Passages of each language."""
        return Counter(dict(zip(self.codes, np.bincount(self.numbers, minlength=len(self.codes)).tolist(), strict=True)))


def corpus_languages(passages: Records, layout: WorkLayout, reporter: Reporter) -> Languages:
    """The languages of all passages: of the record, else of its file, else identified; kept, and read when asked for again.

    Arguments:
        passages: the collection.
        layout: where they are kept.
        reporter: shows the identification, and is told where the languages come from.

    Raises:
        StorageError: the folder cannot be written.
    """
    from umr._rust import fingerprint

    files = _files(passages)
    named = [(name, end - first) for name, first, end in files if name]
    made_from = {"passages": passages.fingerprint, "files": named, "identifier": f"py3langid {version('py3langid')}", "letters": LETTERS}
    identity = fingerprint("\n".join(f"{key}={value}" for key, value in made_from.items()))
    folder = layout.languages(identity)
    manifest, path = folder / "manifest.json", folder / "numbers.npy"
    if manifest.exists():
        value = read_manifest(manifest, "languages")
        require_whole(manifest, value, "remove its folder: the languages are found again")
        return Languages(tuple(value["passages"]), np.load(path, mmap_mode="r", allow_pickle=False), identity)
    found = _found(passages, files, folder, reporter)
    codes, numbers = np.unique(found, return_inverse=True)
    languages = Languages(tuple(str(code) for code in codes), numbers.astype(np.int32), identity)
    with beside(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, languages.numbers, allow_pickle=False)
    write_manifest(manifest, "languages", made_from, {"files": checksums(path), "passages": languages.counts()})
    for part in folder.glob("part-*.npy"):
        part.unlink()
    _say(languages, reporter)
    return languages


def _found(passages: Records, files: list[tuple[str, int, int]], folder: Path, reporter: Reporter) -> NDArray[np.str_]:
    """The language code of every passage; parts that an earlier run has finished are read."""
    parts = []
    with reporter.bar("finding the languages of passages", len(passages), "passages") as bar:
        for start in range(0, len(passages), PART):
            part = folder / f"part-{start // PART:05d}.npy"
            rows = np.arange(start, min(len(passages), start + PART), dtype=np.uint32)
            if not part.exists():
                _write_part(part, passages, rows, files)
            parts.append(_read_part(part, len(rows)))
            bar.advance(len(rows))
    return np.concatenate(parts)


def _say(languages: Languages, reporter: Reporter) -> None:
    counts = languages.counts()
    often = ", ".join(f"{code} {number:,}" for code, number in counts.most_common(SHOWN)) + (", ..." if len(counts) > SHOWN else "")
    reporter.say(f"passages in {len(counts)} languages (of the record, its file, or identified): {often}")


def _write_part(path: Path, passages: Records, rows: NDArray[np.uint32], files: list[tuple[str, int, int]]) -> None:
    codes = np.array(passages.langs(rows), dtype=object)
    for name, first, end in files:
        inside = (rows >= first) & (rows < end) & (codes == "")
        codes[inside] = name
    missing = np.flatnonzero(codes == "")
    for start in range(0, len(missing), STEP):
        some = missing[start : start + STEP]
        codes[some] = identify([text[:LETTERS] for _, text in passages.texts(rows[some])])
    with beside(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, codes.astype(str), allow_pickle=False)


def _read_part(path: Path, rows: int) -> NDArray[np.str_]:
    try:
        found: NDArray[np.str_] = np.load(path, allow_pickle=False)
        if found.shape != (rows,):
            raise ValueError(f"it holds {found.shape}, expected {(rows,)}")
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"{path}: not a whole file of languages ({error})", "remove it and run the stage again") from error
    return found


def _files(passages: Records) -> list[tuple[str, int, int]]:
    """The language that each file's name says (empty where it says none), its first row and the row after its last one."""
    found: list[tuple[str, int, int]] = []
    first = 0
    while first < len(passages):
        path, low, high = passages.locate(first)[0], first, len(passages)
        while high - low > 1:  # rows of one file are neighbours
            middle = (low + high) // 2
            low, high = (middle, high) if passages.locate(middle)[0] == path else (low, middle)
        found.append((file_language(path), first, high))
        first = high
    return found


def file_language(path: str) -> str:
    """The language that a file's name ends with before its format (`passages.ja.tsv.gz`), or its folder's name (`corpus-ja/`); else empty.

    Two letters alone are taken for a language, and only those of one that has a name.
    """
    for name in (ENDING.sub("", Path(path).name), Path(path).parent.name):
        found = CODE.search(name)
        if found and is_known(found[1].lower()):
            return found[1].lower()
    return ""
