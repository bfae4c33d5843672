"""Embeddings on disk: shards of [rows, d] in corpus order with a manifest; another encoder's are never read by mistake."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.config import StoredPrecision
from umr.errors import FormatError, ScoreError
from umr.manifest import checksums, read_manifest, write_manifest
from umr.progress import Bar
from umr.storage import beside

DTYPES: dict[StoredPrecision, type[np.floating[Any]]] = {"f32": np.float32, "f16": np.float16}


@dataclass(frozen=True)
class Embeddings:
    """A store of embeddings, finished or being filled.

    Arguments:
        folder: `embeddings/<fingerprint>/`.
        made_from: what decides the vectors: weights, tokens (which stand for corpus, prefix and length), pooling, ...
        rows: n.
        dimensions: d.
        dtype: of the values on disk.
        shard_rows: rows of every shard but the last.
    """

    folder: Path
    made_from: Mapping[str, Any]
    rows: int
    dimensions: int
    dtype: StoredPrecision
    shard_rows: int

    @property
    def shards(self) -> int:
        """The number of shards; every row is in exactly one."""
        return math.ceil(self.rows / self.shard_rows)

    def path(self, shard: int) -> Path:
        """The file of one shard, a NumPy file of [rows, d]."""
        return self.folder / f"shard-{shard:05d}.npy"

    def int8_shard(self, shard: int) -> Path:
        """The file of one shard in 8 bits, which exact search makes and screens with."""
        return self.folder / f"shard-{shard:05d}.int8"

    def span(self, shard: int) -> tuple[int, int]:
        """First row of a shard, and the first row after it."""
        return shard * self.shard_rows, min(self.rows, (shard + 1) * self.shard_rows)

    def finished(self, shard: int) -> bool:
        """Whether a shard is on disk, whole."""
        return self.path(shard).exists()

    def write(self, shard: int, vectors: NDArray[np.float32]) -> None:
        """Write one shard, whole or not at all.

        Raises:
            ScoreError: a value is too large for the dtype on disk.
        """
        with np.errstate(over="ignore"):  # looked for in the next line
            stored = vectors.astype(DTYPES[self.dtype])
        if not np.isfinite(stored).all():
            row = self.span(shard)[0] + int(np.argwhere(~np.isfinite(stored))[0][0])
            raise ScoreError(
                f"row {row} has values beyond {self.dtype} (largest {np.abs(vectors).max():.3g})",
                "keep them in f32: store under [mine] of a run file (--config)",
            )
        with beside(self.path(shard)) as temporary, temporary.open("wb") as handle:
            np.save(handle, stored, allow_pickle=False)

    def fill(self, make: Callable[[NDArray[np.uint32]], NDArray[np.float32]], bar: Bar) -> None:
        """Write the shards that are not there, then the manifest.

        Arguments:
            make: from the rows [m] of a shard to their vectors [m, d]; advances the bar by its rows.
            bar: told of the rows of shards that are there.
        """
        for shard in range(self.shards):
            rows = np.arange(*self.span(shard), dtype=np.uint32)
            if self.finished(shard):
                bar.skip(len(rows))
            else:
                self.write(shard, make(rows))
        self.finish()

    def finish(self) -> None:
        """Check every shard and write the manifest."""
        for shard in range(self.shards):
            self._map(shard)
        files = checksums(*(self.path(shard) for shard in range(self.shards)))
        contents = {"files": files, "rows": self.rows, "dimensions": self.dimensions, "dtype": self.dtype, "shards": self.shards}
        write_manifest(self.folder / "manifest.json", "embeddings", self.made_from, contents)

    @property
    def complete(self) -> bool:
        """Whether the manifest and every shard are there; a removed shard alone is made again."""
        path = self.folder / "manifest.json"
        if not path.exists() or not all(self.finished(shard) for shard in range(self.shards)):
            return False
        return bool(read_manifest(path, "embeddings")["rows"] == self.rows)

    def _map(self, shard: int) -> NDArray[Any]:
        path = self.path(shard)
        first, end = self.span(shard)
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FormatError(
                f"{path}: not a whole NumPy file ({error})",
                "remove this shard and run the stage again: it alone is made anew",
            ) from error
        if values.shape != (end - first, self.dimensions) or values.dtype != DTYPES[self.dtype]:
            raise FormatError(
                f"{path}: holds {values.dtype} {values.shape}, expected {self.dtype} {(end - first, self.dimensions)}",
                "remove this shard and run the stage again",
            )
        return values  # type: ignore[no-any-return]

    def mapped(self) -> list[tuple[str, int, int]]:
        """Path, byte offset of the values, and rows of every shard, as the search takes them."""
        shards = ((self.path(s), self._map(s)) for s in range(self.shards))
        return [(str(path), int(values.offset), len(values)) for path, values in shards]  # type: ignore[attr-defined]

    def read(self, rows: NDArray[np.uint32] | None = None) -> NDArray[np.float32]:
        """The vectors of some rows, or of all: [m, d] float32."""
        rows = np.arange(self.rows, dtype=np.uint32) if rows is None else rows
        vectors = np.empty((len(rows), self.dimensions), dtype=np.float32)
        shard_of = rows // self.shard_rows
        for shard in np.unique(shard_of):
            here = shard_of == shard
            vectors[here] = self._map(int(shard))[rows[here] - np.uint32(shard * self.shard_rows)]
        return vectors
