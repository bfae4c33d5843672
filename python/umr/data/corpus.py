"""Passages: rows of id, title and text over memory-mapped files. The Rust extension owns the map."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from umr._rust import Records
from umr.errors import InputError
from umr.progress import Reporter


def expand(patterns: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], what: str) -> list[str]:
    """The files that paths and globs stand for, in order, each once.

    Arguments:
        patterns: a path or glob, or several; the matches of a glob are sorted by name.
        what: `passages` or `queries`, for the message.

    Raises:
        InputError: a path that does not exist or is not UTF-8, or a glob without a match.
    """
    files: dict[str, None] = {}
    for pattern in map(str, [patterns] if isinstance(patterns, str | os.PathLike) else patterns):
        path = str(Path(pattern).expanduser()) if pattern.startswith("~/") else pattern
        matches = [path] if path and Path(path).exists() else sorted(glob.glob(path))
        if not matches:
            raise InputError(f"no {what} at {pattern!r}: no such file", "check the path; quote a glob so that umr expands it")
        found = [str(Path(m).absolute()) for m in matches]
        broken = next((name for name in found if not is_utf8(name)), None)
        if broken:
            raise InputError(f"the name of a file of {what} is not UTF-8: {broken!a}", "rename it")
        files |= dict.fromkeys(found)
    return list(files)


def absolute(name: str) -> str:
    """A local file or folder by its absolute path, so that a later call may come from another folder; another name as it is."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def is_utf8(name: str) -> bool:
    """Whether a name came from UTF-8: Python keeps other bytes as halves of surrogate pairs."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def open_passages(paths: Sequence[str], cache: Path, reporter: Reporter) -> Records:
    """Open passage files: DPR TSV or JSONL, gzip or not; the offset index is kept in `cache`.

    Arguments:
        paths: existing files, in corpus order.
        cache: folder of the index and of unpacked gzip files.
        reporter: told what was repaired.

    Raises:
        InputError, FormatError: see docs/inputs.md; messages name file, line and id.
    """
    cache.mkdir(parents=True, exist_ok=True)
    passages = Records.open(list(paths), "passages", str(cache))
    empty = passages.counts().get("empty_passages", 0)
    if empty:
        reporter.warn(f"{empty:,} of {len(passages):,} passages have no text")
    return passages
