"""Embeddings on disk: shards of [rows, d] in corpus order with a manifest; another encoder's are never read by mistake."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.config import StoredPrecision
from umr.errors import FormatError, ScoreError
from umr.manifest import Growing, digest, read_manifest, require_whole
from umr.progress import Bar
from umr.storage import beside
from umr.work.ranks import Claims

AGAIN = "remove this shard and run the stage again: it alone is made anew"
KEEP_SECONDS = 30.0  # between two times that finished pieces are put on disk
DTYPES: dict[StoredPrecision, type[np.floating[Any]]] = {"f32": np.float32, "f16": np.float16}

Make = Callable[[NDArray[np.uint32]], NDArray[np.float32]]
"""From some rows [m] to their vectors [m, d]."""
Cut = Callable[[int, int], Iterable[int]]
"""From the first row of a shard and the first behind it to the first row of each of its pieces."""


def whole(first: int, end: int) -> list[int]:
    """A shard in one piece."""
    return [first]


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
        opened: the files whose digest was compared: each is, once.
    """

    folder: Path
    made_from: Mapping[str, Any]
    rows: int
    dimensions: int
    dtype: StoredPrecision
    shard_rows: int
    opened: set[str] = field(default_factory=set, repr=False, compare=False)

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

    @property
    def manifest(self) -> Path:
        """The manifest: it names every shard that is written, with its digest."""
        return self.folder / "manifest.json"

    def _growing(self) -> Growing:
        contents = {
            "rows": self.rows, "dimensions": self.dimensions, "dtype": self.dtype, "shards": self.shards, "shard_rows": self.shard_rows,
        }  # fmt: skip
        return Growing(self.manifest, "embeddings", self.made_from, contents)

    def _stored(self, first: int, vectors: NDArray[Any]) -> NDArray[Any]:
        """Vectors of the rows from `first` on, as they are on disk."""
        with np.errstate(over="ignore"):  # looked for in the next line
            stored = vectors.astype(DTYPES[self.dtype])
        if not np.isfinite(stored).all():
            row = first + int(np.argwhere(~np.isfinite(stored))[0][0])
            raise ScoreError(
                f"row {row} has values beyond {self.dtype} (largest {np.abs(vectors).max():.3g})",
                "keep them in f32: store under [mine] of a run file (--config)",
            )
        return stored

    def fill(self, make: Make, bar: Bar, cut: Cut = whole) -> None:
        """Write the shards that are not there, each known by its manifest as soon as it is whole.

        Arguments:
            make: from some rows [m] to their vectors [m, d]; advances the bar by them.
            bar: told of the rows that are there.
            cut: where a shard is cut into pieces, kept every half minute. A killed run makes again what it made since then.

        Raises:
            ScoreError: a value is too large for the dtype on disk.
            MismatchError: a shard has changed since it was written.
        """
        known = self._growing()
        with _Writer() as writer:
            for shard in range(self.shards):
                first, end = self.span(shard)
                if known.has(self.path(shard), AGAIN):
                    bar.skip(end - first)
                    continue
                pieces = list(pairwise([*cut(first, end), end]))
                vectors = np.concatenate(self._pieces(known, pieces, make, bar, writer))
                writer.start(self._write, known, {self.path(shard): vectors}, tuple(self._piece_path(*piece) for piece in pieces))

    def share(self, make: Make, bar: Bar, cut: Cut, claims: Claims) -> None:
        """Make the pieces that no other rank makes; `fill` puts them together when all are there.

        Arguments:
            make, bar, cut: as in `fill`.
            claims: of the ranks.

        Raises:
            as `fill`.
        """
        spans: dict[str, tuple[int, int]] = {}
        known = self._growing()
        for shard in range(self.shards):
            if not known.has(self.path(shard), AGAIN):
                first, end = self.span(shard)
                spans |= {f"{self.folder.name}-{a}-{b}": (a, b) for a, b in pairwise([*cut(first, end), end])}
        bar.skip(self.rows - sum(end - first for first, end in spans.values()))
        for unit, _ in claims.each(list(spans), wait=True):  # the search, which is shared too, needs them all
            first, end = spans[unit]
            path = self._piece_path(first, end)
            if self._growing().has(path, hint=None):
                bar.skip(end - first)
                continue
            _save(path, self._stored(first, make(np.arange(first, end, dtype=np.uint32))))
            with claims.alone():
                self._growing().add(path)

    def _write(self, known: Growing, arrays: Mapping[Path, NDArray[Any]], instead_of: tuple[Path, ...] = ()) -> None:
        for path, values in arrays.items():
            _save(path, values)
            known.add(path, instead_of)

    def _piece_path(self, first: int, end: int) -> Path:
        return self.folder / f"piece-{first}-{end}.npy"

    def _pieces(self, known: Growing, pieces: list[tuple[int, int]], make: Make, bar: Bar, writer: _Writer) -> list[NDArray[Any]]:
        """The rows of each piece of a shard as they are stored: kept by an earlier run, or made."""
        made, waiting, kept = [], dict[Path, NDArray[Any]](), time.monotonic()
        for first, end in pieces:
            path = self._piece_path(first, end)
            if known.has(path, hint=None):
                bar.skip(end - first)
                made.append(_load(path, (end - first, self.dimensions), DTYPES[self.dtype]))
                continue
            waiting[path] = self._stored(first, make(np.arange(first, end, dtype=np.uint32)))
            made.append(waiting[path])
            if len(pieces) > 1 and time.monotonic() - kept >= KEEP_SECONDS:
                writer.start(self._write, known, waiting)
                waiting, kept = {}, time.monotonic()
        return made

    @property
    def complete(self) -> bool:
        """Whether every shard is written; a removed shard alone is made again.

        Raises:
            MismatchError: the folder holds the vectors of something else.
        """
        if not self.manifest.exists():
            return False
        named = self._growing().files
        return all(self.path(shard).name in named and self.path(shard).exists() for shard in range(self.shards))

    @staticmethod
    def progress(manifest: Path) -> tuple[int, int]:
        """Vectors that are on disk and vectors in all, told by the manifest alone.

        Raises:
            FormatError, MismatchError: the manifest is damaged.
        """
        found = read_manifest(manifest, "embeddings")
        rows, shard_rows = int(found["rows"]), int(found["shard_rows"])
        done = 0
        for name in found["files"]:
            kind, *numbers = Path(name).stem.split("-")
            first, end = map(int, numbers) if kind == "piece" else (int(numbers[0]) * shard_rows, (int(numbers[0]) + 1) * shard_rows)
            done += min(end, rows) - first
        return done, rows

    @property
    def identity(self) -> str:
        """What names the very values on disk: the digest of the digests of the shards."""
        named = read_manifest(self.manifest, "embeddings")["files"]
        return digest({self.path(shard).name: named[self.path(shard).name] for shard in range(self.shards)})

    def _map(self, shard: int) -> NDArray[Any]:
        """A shard, compared with its digest when it is opened for the first time."""
        path = self.path(shard)
        if path.name not in self.opened:
            require_whole(self.manifest, read_manifest(self.manifest, "embeddings"), AGAIN, path.name)
            self.opened.add(path.name)
        first, end = self.span(shard)
        return _load(path, (end - first, self.dimensions), DTYPES[self.dtype])

    def mapped(self, some: Iterable[int] | None = None) -> list[tuple[str, int, int]]:
        """Path, byte offset of the values, and rows of every shard, or of some, as the search takes them."""
        shards = ((self.path(s), self._map(s)) for s in (range(self.shards) if some is None else some))
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


class _Writer:
    """Writes in a thread while the next vectors are made, one thing after the other; what fails is raised at the next."""

    def __enter__(self) -> _Writer:
        self._thread, self._running = ThreadPoolExecutor(1), Future[None]()
        self._running.set_result(None)
        return self

    def start(self, write: Callable[..., None], *arguments: object) -> None:
        """Write in the thread, after what is being written."""
        self._running.result()
        self._running = self._thread.submit(write, *arguments)

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._running.result()


def _save(path: Path, values: NDArray[Any]) -> None:
    with beside(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, values, allow_pickle=False)


def _load(path: Path, shape: tuple[int, int], dtype: type) -> NDArray[Any]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"{path}: not a whole NumPy file ({error})", AGAIN) from error
    if values.shape != shape or values.dtype != dtype:
        raise FormatError(f"{path}: holds {values.dtype} {values.shape}, expected {np.dtype(dtype)} {shape}", AGAIN)
    return values  # type: ignore[no-any-return]
