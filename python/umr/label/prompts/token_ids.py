"""Token ids of many texts, one behind the other, and where each begins, in two files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenIds:
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

    def __getitem__(self, number: int) -> NDArray[np.uint32]:
        """The ids [L] of one text."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]


def write_token_ids(folder: Path, name: str, texts: Iterable[Sequence[int]]) -> None:
    """Write the ids of texts as they come: `NAME.u32` and `NAME.npy`."""
    offsets = [0]
    with (folder / f"{name}.u32").open("wb") as file:
        for ids in texts:
            np.array(ids, dtype="<u4").tofile(file)
            offsets.append(offsets[-1] + len(ids))
    np.save(folder / f"{name}.npy", np.array(offsets, dtype=np.int64))


def read_token_ids(folder: Path, name: str) -> TokenIds:
    """Open what `write_token_ids` wrote."""
    path = folder / f"{name}.u32"
    ids = np.memmap(path, dtype="<u4", mode="r") if path.stat().st_size else np.empty(0, dtype=np.uint32)
    return TokenIds(ids, np.load(folder / f"{name}.npy", allow_pickle=False))
