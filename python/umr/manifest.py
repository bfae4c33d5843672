"""Manifests: what an artefact is, what it was made from, and whether it may be used for what is asked now.

A manifest names its files with size and digest, and holds a digest of itself: whatever it speaks for is compared when it is opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umr._rust import file_digest, fingerprint
from umr.errors import FormatError, MismatchError, UmrError
from umr.storage import canonical, read_json, write_json

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
FORMAT = 2
AGAIN = "remove the file and run the stage again"

Written = dict[str, Any]
"""What a manifest keeps of a file: `size` in bytes and `blake3`, the BLAKE3-256 of its content."""
Files = dict[str, Written]
"""Name, relative to the manifest's folder -> what was written."""


def write_manifest(path: Path, kind: str, made_from: Mapping[str, Any], contents: Mapping[str, Any]) -> None:
    """Write the manifest of an artefact, the last of its files.

    Arguments:
        path: where it goes.
        kind: what the artefact is (`embeddings`, `mine`, ...).
        made_from: fingerprints and settings that decide its content; a later use compares them.
        contents: counts, checksums and whatever a reader wants to know.
    """
    value = {"format": FORMAT, "kind": kind, "made_from": dict(made_from), **contents}
    write_json(path, {**value, "digest": digest(value)})


def digest(value: Mapping[str, Any]) -> str:
    """The name of what was made from a mapping: 64 hexadecimal letters that depend on its keys and values, not on their order."""
    return fingerprint(canonical(value))


def checksums(*files: Path, folder: Path | None = None) -> Files:
    """Name -> size and digest of the files that a manifest describes.

    Arguments:
        files: the files.
        folder: of the manifest, where the files lie below it. (default: the names alone)
    """

    def written(file: Path) -> Written:
        return {"size": file.stat().st_size, "blake3": file_digest(str(file))}

    return {(file.relative_to(folder).as_posix() if folder else file.name): written(file) for file in files}


def flaw(file: Path, written: Written, read: bool = True) -> str | None:
    """What is wrong with a file, in words; None where it is the one that was written.

    Arguments:
        file: the file.
        written: what its manifest says of it.
        read: whether its content is compared; else its size alone.
    """
    if not file.is_file():
        return "is gone"
    if file.stat().st_size != written["size"] or (read and checksums(file)[file.name] != written):
        return "has changed since it was written"
    return None


def require_whole(path: Path, manifest: Mapping[str, Any], hint: str, name: str | None = None) -> None:
    """Refuse files that are not the ones their manifest was written for.

    Arguments:
        path: the manifest, beside its files.
        manifest: its content, with `files`.
        hint: what the user can do.
        name: of the one file to look at. (default: all)

    Raises:
        MismatchError: a file is gone or has changed since.
    """
    for key in manifest["files"] if name is None else [name]:
        file = path.parent / key
        what = flaw(file, manifest["files"][key]) if key in manifest["files"] else "is not named there"
        if what:
            raise MismatchError(f"{file} {what}, so it is not the file that {path.name} describes", hint)


def flaws(path: Path, manifest: Mapping[str, Any], read: bool) -> list[str]:
    """The files of a manifest that are gone or have changed, a sentence each.

    Arguments:
        path: the manifest, beside its files.
        manifest: its content.
        read: whether their content is compared; else their sizes alone.
    """
    found = ((path.parent / name, flaw(path.parent / name, written, read)) for name, written in manifest.get("files", {}).items())
    return [f"{file} {what}" for file, what in found if what]


def read_manifest(path: Path, kind: str) -> dict[str, Any]:
    """Read a manifest and check that it is one of `kind` in this format version, and as it was written.

    Raises:
        FormatError: it is something else, or from a version of umr with another format.
        MismatchError: it has changed since it was written.
    """
    value = read_json(path)
    if value.get("kind") != kind:
        raise FormatError(f"{path}: expected the manifest of {kind!r}, found {str(value.get('kind'))[:80]!r}", AGAIN)
    if value.get("format") != FORMAT:
        hint = "use the version of umr that wrote it"
        raise FormatError(f"{path}: format version {str(value.get('format'))[:80]}, this umr reads version {FORMAT}", hint)
    if value.pop("digest", None) != digest(value):
        raise MismatchError(f"{path} has changed since it was written", AGAIN)
    return value


def require_same(path: Path, what: str, found: Mapping[str, Any], wanted: Mapping[str, Any], hint: str) -> None:
    """Refuse an artefact that was made from something else.

    Arguments:
        path: the artefact's manifest.
        what: the artefact in words, with a verb: `the index was made`.
        found: what it was made from.
        wanted: what the present call needs it to be made from.
        hint: what the user can do.

    Raises:
        MismatchError: names every field that differs, with both values; of a digest it says so much alone.
    """
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        detail = "; ".join(_difference(key, found.get(key), wanted[key]) for key in differing)
        raise MismatchError(f"{path}: {what} otherwise: {detail}", hint)


def _difference(key: str, found: Any, wanted: Any) -> str:
    if DIGEST.search(f"{found} {wanted}"):
        return f"{key} is not the same as then"
    return f"{key} is {found!r}, asked for {wanted!r}"


class Growing:
    """A manifest that names each file as soon as it is written: what a killed run has finished is known by it.

    Arguments:
        path: the manifest, beside its files.
        kind, made_from, contents: as for `write_manifest`.
    """

    def __init__(self, path: Path, kind: str, made_from: Mapping[str, Any], contents: Mapping[str, Any]) -> None:
        self.path, self.kind, self.contents = path, kind, contents
        self.made_from = json.loads(canonical(made_from))  # as it is read back
        self.files: Files = {}
        if path.exists():
            found = read_manifest(path, kind)
            require_same(path, f"{kind} were", found["made_from"], self.made_from, AGAIN)
            self.files = found["files"]

    def has(self, file: Path, hint: str | None) -> bool:
        """Whether a file is there, as it was written.

        Arguments:
            file: beside the manifest.
            hint: how to make another one; None counts a changed file as missing.

        Raises:
            MismatchError: it has changed.
        """
        if file.name not in self.files or not file.is_file():
            return False
        if hint is None:
            return flaw(file, self.files[file.name]) is None
        require_whole(self.path, {"files": self.files}, hint, file.name)
        return True

    def add(self, file: Path, instead_of: tuple[Path, ...] = ()) -> None:
        """Name a file that was just written.

        Arguments:
            file: beside the manifest.
            instead_of: files that it makes needless; they are removed.
        """
        gone = {other.name for other in instead_of}
        self.files = {name: written for name, written in self.files.items() if name not in gone} | checksums(file)
        write_manifest(self.path, self.kind, self.made_from, {"files": self.files, **self.contents})
        for other in instead_of:
            other.unlink(missing_ok=True)


def verify(folder: Path) -> tuple[set[Path], list[str]]:
    """Read every manifest below a folder and every file that it names. JSON that another manifest names is none.

    Returns:
        the files that were read, and what is wrong, in words.
    """
    read, wrong = set[Path](), list[str]()
    for path in sorted(folder.rglob("*.json"), key=lambda path: (len(path.parts), path)):
        if path in read:
            continue
        try:
            found = read_json(path)
            if not found.keys() & {"format", "kind", "made_from", "digest"}:
                continue
            found = read_manifest(path, str(found.get("kind")))
        except UmrError as error:
            wrong.append(error.message)
            continue
        read |= {path, *(path.parent / name for name in found.get("files", {}))}
        wrong += [f"{what} (see {path.name})" for what in flaws(path, found, read=True)]
    return read, wrong
