"""The vectors of a store, a chunk at a time; the next chunk is read meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from umr.data.embeddings import DTYPES, Embeddings
from umr.errors import ScoreError
from umr.models.feeding import thread_for
from umr.search.lists import Rows

CPU = torch.device("cpu")
SAMPLE_ROWS = 4096


class Reader:
    """Vectors by row, from mapped shards.

    Arguments:
        passages: finished embeddings.
        device: where they go. For a GPU they are read as they are stored, into memory that it can copy from by itself.
    """

    def __init__(self, passages: Embeddings, device: torch.device = CPU) -> None:
        self.passages, self.device, self.shards = passages, device, dict[int, NDArray[Any]]()

    def read(self, rows: Rows) -> NDArray[Any]:
        """The vectors [m, d] of ascending rows [m]; float32, but of consecutive rows for a GPU."""
        if not len(rows) or int(rows[-1]) - int(rows[0]) + 1 != len(rows):
            return self.passages.read(rows)
        out, at, size = self._buffer(len(rows)), 0, self.passages.shard_rows
        while at < len(rows):  # consecutive rows are copied as they lie
            shard, start = divmod(int(rows[0]) + at, size)
            part = self._shard(shard)[start : start + len(rows) - at]
            out[at : at + len(part)] = part
            at += len(part)
        return out

    def _shard(self, number: int) -> NDArray[Any]:
        """A shard, opened when it is first read."""
        if number not in self.shards:
            ((path, at, rows),) = self.passages.mapped([number])
            self.shards[number] = np.memmap(path, DTYPES[self.passages.dtype], "r", at, (rows, self.passages.dimensions))
        return self.shards[number]

    def _buffer(self, rows: int) -> NDArray[Any]:
        if self.device.type == "cpu":
            return np.empty((rows, self.passages.dimensions), dtype=np.float32)
        dtype = getattr(torch, np.dtype(DTYPES[self.passages.dtype]).name)
        return torch.empty(rows, self.passages.dimensions, dtype=dtype, pin_memory=True).numpy()

    def chunks(self, rows: Rows, size: int) -> Iterator[tuple[Rows, NDArray[Any]]]:
        """Ascending rows and their vectors, `size` at a time; the next chunk is read meanwhile."""
        parts = [rows[at : at + size] for at in range(0, len(rows), size)]
        with thread_for(self.device) as ahead:
            coming = [ahead.submit(self.read, part) for part in parts[:1]]
            for at, part in enumerate(parts):
                vectors = coming.pop().result()
                coming += [ahead.submit(self.read, following) for following in parts[at + 1 : at + 2]]
                yield part, vectors

    def sample(self, rows: Rows) -> NDArray[Any]:
        """The vectors of some rows; of many an even sample."""
        return self.read(evenly_spaced(rows, SAMPLE_ROWS))


def evenly_spaced(rows: Rows, count: int) -> Rows:
    """At most `count` of some rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))]


def not_finite(row: int) -> ScoreError:
    """The error for a passage whose vector is not finite."""
    return ScoreError(f"passage row {row} is not finite", "encode the passages again, in bf16 or fp32")
