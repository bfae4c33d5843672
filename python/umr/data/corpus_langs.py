"""The language of every passage of a collection: its record's, its file's, or identified once and kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from umr.data.file_langs import CHECKED, File, believed, files_of
from umr.data.passage_langs import LETTERS, STEP
from umr.errors import FormatError
from umr.languages import identify
from umr.layout import WorkLayout
from umr.manifest import checksums, digest, read_manifest, require_whole, write_manifest
from umr.progress import Reporter
from umr.storage import beside

if TYPE_CHECKING:
    from umr._rust import Records

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
    """The languages of all passages: of the record, else of its file, else identified; kept, and read when asked for again.

    Arguments:
        passages: the collection.
        layout: where they are kept.
        reporter: shows the identification, and is told where the languages come from.

    Raises:
        StorageError: the folder cannot be written.
    """
    files = files_of(passages)
    made_from = {
        "passages": passages.fingerprint, "files": [(file.lang, file.end - file.first) for file in files], "checked": CHECKED,
        "identifier": f"py3langid {version('py3langid')}", "letters": LETTERS,
    }  # fmt: skip
    identity = digest(made_from)
    folder = layout.languages(identity)
    manifest, path = folder / "manifest.json", folder / "numbers.npy"
    if manifest.exists():
        value = read_manifest(manifest, "languages")
        require_whole(manifest, value, "remove its folder: the languages are found again")
        numbers = np.load(path, mmap_mode="r", allow_pickle=False)
        return Languages(tuple(value["passages"]), numbers, identity, frozenset(value["stated"]))
    languages = _found(passages, believed(passages, files, reporter), folder, identity, reporter)
    with beside(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, languages.numbers, allow_pickle=False)
    contents = {"files": checksums(path), "passages": languages.counts(), "stated": sorted(languages.stated)}
    write_manifest(manifest, "languages", made_from, contents)
    for part in folder.glob("part-*.npz"):
        part.unlink()
    _say(languages, reporter)
    return languages


def _found(passages: Records, files: list[File], folder: Path, identity: str, reporter: Reporter) -> Languages:
    """The languages of all passages; parts that an earlier run has finished are read."""
    places: dict[str, int] = {}
    stated: set[str] = set()
    numbers = np.empty(len(passages), dtype=np.int32)
    with reporter.bar("finding the languages of passages", len(passages), "passages") as bar:
        for start in range(0, len(passages), PART):
            part = folder / f"part-{start // PART:05d}.npz"
            rows = np.arange(start, min(len(passages), start + PART), dtype=np.uint32)
            if not part.exists():
                _write_part(part, passages, rows, files)
            codes, here, said = _read_part(part, len(rows))
            found = np.array([places.setdefault(code, len(places)) for code in codes], dtype=np.int32)
            numbers[start : start + len(rows)] = found[here]
            stated |= said
            bar.advance(len(rows))
    ordered = sorted(places)
    order = np.empty(len(places), dtype=np.int32)
    order[[places[code] for code in ordered]] = np.arange(len(places))
    return Languages(tuple(ordered), order[numbers], identity, frozenset(stated))


def _say(languages: Languages, reporter: Reporter) -> None:
    counts = languages.counts()
    often = ", ".join(f"{code} {number:,}" for code, number in counts.most_common(SHOWN)) + (", ..." if len(counts) > SHOWN else "")
    reporter.say(f"passages in {len(counts)} languages (of the record, its file, or identified): {often}")


def _write_part(path: Path, passages: Records, rows: NDArray[np.uint32], files: list[File]) -> None:
    codes = np.array(passages.langs(rows), dtype=object)
    for file in files:
        codes[(rows >= file.first) & (rows < file.end) & (codes == "")] = file.lang
    missing = np.flatnonzero(codes == "")
    stated = sorted(set(codes) - {""})
    for start in range(0, len(missing), STEP):
        some = missing[start : start + STEP]
        codes[some] = identify([text[:LETTERS] for _, text in passages.texts(rows[some])])
    names, numbers = np.unique(codes.astype(str), return_inverse=True)
    with beside(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, codes=names, numbers=numbers.astype(np.int32), stated=np.array(stated, dtype=str))


def _read_part(path: Path, rows: int) -> tuple[list[str], NDArray[np.int32], set[str]]:
    """The codes of a part, for each of its passages the place of its code, and the codes that were stated."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as found:
            codes, numbers, stated = (found[name] for name in ("codes", "numbers", "stated"))
        if numbers.shape != (rows,) or not len(codes) or not 0 <= numbers.min() <= numbers.max() < len(codes):
            raise ValueError(f"it holds {numbers.shape}, expected {(rows,)}")
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, BadZipFile) as error:
        raise FormatError(f"{path}: not a whole file of languages ({error})", "remove it and run the stage again") from error
    return codes.tolist(), numbers, set(stated.tolist())
