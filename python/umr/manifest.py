"""Manifests: what an artefact is, what it was made from, and whether it may be used for what is asked now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umr.errors import FormatError, MismatchError
from umr.storage import read_json, write_json

FORMAT = 1
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def write_manifest(path: Path, kind: str, made_from: Mapping[str, Any], contents: Mapping[str, Any]) -> None:
    """Write the manifest of an artefact, the last of its files.

    Arguments:
        path: where it goes.
        kind: what the artefact is (`embeddings`, `mine`, ...).
        made_from: fingerprints and settings that decide its content; a later use compares them.
        contents: counts, checksums and whatever a reader wants to know.
    """
    write_json(path, {"format": FORMAT, "kind": kind, "made_from": dict(made_from), **contents})


def digest(made_from: Mapping[str, Any]) -> str:
    """The name of what was made from a mapping: 64 hexadecimal letters that depend on its keys and values, not on their order."""
    from umr._rust import fingerprint

    return fingerprint("\n".join(f"{key}={made_from[key]}" for key in sorted(made_from)))


def checksums(*files: Path) -> dict[str, str]:
    """Name -> digest of the files that a manifest describes."""
    from umr._rust import fingerprint_files

    return {file.name: fingerprint_files([str(file)]) for file in files}


def require_whole(path: Path, manifest: Mapping[str, Any], hint: str) -> None:
    """Refuse files that are not the ones their manifest was written for.

    Arguments:
        path: the manifest, beside its files.
        manifest: its content, with `files`.
        hint: what the user can do.

    Raises:
        MismatchError: a file is gone or has changed since.
    """
    for name, digest in manifest.get("files", {}).items():
        file = path.with_name(name)
        if not file.exists() or checksums(file)[name] != digest:
            what = "has changed since it was written" if file.exists() else "is gone"
            raise MismatchError(f"{file} {what}, so it is not the file that {path.name} describes", hint)


def absent_files(path: Path, manifest: Mapping[str, Any]) -> list[str]:
    """The files beside a manifest that are gone, a sentence each; nothing is read."""
    return [f"{path.with_name(name)} is gone" for name in manifest.get("files", {}) if not path.with_name(name).exists()]


def read_manifest(path: Path, kind: str) -> dict[str, Any]:
    """Read a manifest and check that it is one of `kind` in this format version.

    Raises:
        FormatError: it is something else, or from a version of umr with another format.
    """
    value = read_json(path)
    if value.get("kind") != kind or not isinstance(value.get("made_from"), dict):
        raise FormatError(
            f"{path}: expected the manifest of {kind!r}, found {value.get('kind')!r}",
            "remove the file and run the stage again",
        )
    if value.get("format") != FORMAT:
        raise FormatError(
            f"{path}: format version {value.get('format')!r}, this umr reads version {FORMAT}",
            "use the version of umr that wrote it",
        )
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
