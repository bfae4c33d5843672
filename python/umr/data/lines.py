"""The lines of a text file, plain or gzip-compressed (by content, not by name)."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from umr.errors import FormatError, InputError


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1.

    Arguments:
        path: the file, UTF-8, with or without a byte order mark.

    Raises:
        InputError: the file cannot be read.
        FormatError: the bytes are not UTF-8, or the gzip stream is torn.
    """
    line = 0
    try:
        with path.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as handle:
            for line, raw in enumerate(handle, start=1):
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
                if text.strip():
                    yield line, text
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}:{line}: not UTF-8 at byte {error.start} of the line", "save the file as UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"{path}: torn gzip stream: {error}", "fetch the file again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "check the path") from None
