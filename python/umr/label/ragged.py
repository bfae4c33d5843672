"""Rows of different lengths on disk: token ids one behind the other, and where each row begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """Token ids of n texts.

    Arguments:
        ids: [T] uint32, memory-mapped.
        offsets: [n + 1] int64; text i is `ids[offsets[i]:offsets[i + 1]]`.
    """

    ids: NDArray[np.uint32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens [n] of every text."""
        return np.diff(self.offsets)

    def row(self, number: int) -> list[int]:
        """The ids of one text."""
        found: list[int] = self.array(number).tolist()
        return found

    def array(self, number: int) -> NDArray[np.uint32]:
        """The ids of one text, [L]."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]


class Writer:
    """Writes texts one behind the other, in a `with` block.

    Arguments:
        folder: where both files go.
        name: of them.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._lengths: list[int] = []

    def __enter__(self) -> Self:
        self._file = (self._folder / f"{self._name}.u32").open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        np.save(self._folder / f"{self._name}.npy", np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens [n] of every text so far."""
        return np.array(self._lengths, dtype=np.int64)

    def add(self, texts: Sequence[Sequence[int]]) -> None:
        """Write the ids of some texts."""
        self._lengths += map(len, texts)
        np.fromiter(chain.from_iterable(texts), dtype="<u4").tofile(self._file)


def read_ragged(folder: Path, name: str) -> Ragged:
    """Open what a `Writer` wrote."""
    offsets = np.load(folder / f"{name}.npy", allow_pickle=False)
    path = folder / f"{name}.u32"
    ids = np.memmap(path, dtype="<u4", mode="r") if path.stat().st_size else np.empty(0, dtype=np.uint32)
    return Ragged(ids, offsets)
