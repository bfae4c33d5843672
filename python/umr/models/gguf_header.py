"""The header of a GGUF file, walked before others read it: every length lies inside the file, and no size exceeds its tensors.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The reader of the package gguf believes what a header says,
and transformers makes a model as large as it says.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from umr.errors import FormatError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST_DIMENSIONS = 4
WIDTHS = ("embedding_length", "feed_forward_length", "vocab_size", "attention.head_count", "attention.head_count_kv")
"""Sizes of an architecture that are dimensions of its tensors, or fewer."""


def check_header(path: Path) -> None:
    """Refuse a GGUF file whose header cannot be true.

    Raises:
        FormatError: names the file and what in it.
    """
    try:
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check(_Header(data))
    except (struct.error, ValueError) as error:  # UnicodeDecodeError too
        raise FormatError(f"{path}: not a whole GGUF file ({error})", "download it again, or choose another") from error


class _Header:
    """Reads one value after the other, little-endian."""

    def __init__(self, data: Any) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> Any:
        """The next value."""
        (value,) = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return value

    def skip(self, size: int) -> bytes:
        """The next bytes; no more than the first 4,096 of them are copied."""
        if self.at + size > len(self.data):
            raise ValueError(f"{size:,} bytes at {self.at:,} of {len(self.data):,}")
        found = bytes(self.data[self.at : self.at + min(size, 4096)])
        self.at += size
        return found

    def text(self) -> str:
        """The next string."""
        return self.skip(self.take("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """The next value of a type; of an array nothing is kept."""
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.take(self.form(kind))
        inner, count = self.take("I"), self.take("Q")
        if inner != STRING:
            self.skip(count * struct.calcsize(f"<{self.form(inner)}"))
        for _ in range(count if inner == STRING else 0):
            self.skip(self.take("Q"))
        return None

    def form(self, kind: int) -> str:
        """How a scalar type is unpacked."""
        if kind not in SCALARS:
            raise ValueError(f"a value of type {kind} at {self.at:,}")
        return SCALARS[kind]


def _check(header: _Header) -> None:
    magic, version = header.skip(4), header.take("I")
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError(f"begins with {magic!r}, version {version}")
    tensors, count = header.take("Q"), header.take("Q")
    values = {}
    for _ in range(count):
        key = header.text()
        values[key] = header.value(header.take("I"))
    widest = 0
    for _ in range(tensors):
        header.text()
        dimensions = header.take("I")
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions:,} dimensions")
        shape = [header.take("Q") for _ in range(dimensions)]
        header.take("I"), header.take("Q")
        widest = max([widest, *shape])
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        raise ValueError(f"general.architecture is {architecture!r}")
    for key, most in [("block_count", tensors), *((width, widest) for width in WIDTHS)]:
        size = values.get(f"{architecture}.{key}", 1)
        if size is not None and (isinstance(size, str | float) or not 0 <= size <= most):
            raise ValueError(f"{architecture}.{key} is {size!r}, but its {tensors:,} tensors have no more than {widest:,} rows or columns")
    if widest > len(header.data):
        raise ValueError(f"a tensor of {widest:,} rows or columns in a file of {len(header.data):,} bytes")
