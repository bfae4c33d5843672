"""Stores of embeddings and drawn problems for the tests of search.

Imported as `search.rig` (`tests/` is on the path).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny
from umr.config import StoredPrecision
from umr.data.embeddings import Embeddings
from umr.manifest import checksums, read_manifest
from umr.progress import Silent

Floats = NDArray[np.float32]


def stored(folder: Path, vectors: Floats, dtype: StoredPrecision = "f32", shard_rows: int = 7) -> Embeddings:
    """Finished embeddings of some vectors."""
    store = Embeddings(folder, {}, len(vectors), vectors.shape[1], dtype, shard_rows)
    with Silent().bar("", len(vectors), "vectors") as bar:
        store.fill(lambda rows: vectors[rows], bar)
    return store


def spoil(store: Embeddings, row: int, column: int, value: float) -> None:
    """Put a value into a finished store, which then names it as its own."""
    shard = store.path(row // store.shard_rows)
    np.load(shard, mmap_mode="r+")[row % store.shard_rows, column] = value
    found = read_manifest(store.manifest, "embeddings")
    tiny.change_manifest(store.manifest, files=found["files"] | checksums(shard))
    store.opened.clear()


@contextmanager
def kept(vectors: Floats, dtype: StoredPrecision = "f32", shard_rows: int = 7) -> Iterator[Embeddings]:
    """The same in a folder that goes again."""
    with tempfile.TemporaryDirectory() as folder:
        yield stored(Path(folder), vectors, dtype, shard_rows)


def require_same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    """The same rows and the same bits."""
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1].view(np.uint32), expected[1].view(np.uint32))


@st.composite
def vectors(draw: st.DrawFn, dimensions: int, most: int) -> Floats:
    """Rows that tie, repeat, vanish, or differ widely in size."""
    rows = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["ties", "normal", "wide", "shifted", "same"]))
    made = rng.standard_normal((rows, dimensions))
    if kind == "ties":
        made = rng.integers(-4, 5, (rows, dimensions)) / 8
    if kind == "wide":
        made *= 2.0 ** rng.integers(-60, 50, (rows, 1))
    if kind == "shifted":
        made = made / 50 + 1
    if kind == "same":
        made = np.broadcast_to(made[:1], made.shape)
    made = made * 2.0 ** draw(st.sampled_from([0, 0, 0, -130, -100, 10]))
    made[rng.random(rows) < 0.1] = 0
    return made.astype(np.float32)


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Floats, Floats, int]:
    """Queries, passages and k."""
    dimensions = draw(st.sampled_from([1, 2, 7, 8, 9, 16, 19]))
    passages = draw(vectors(dimensions, 40))
    return draw(vectors(dimensions, 6)), passages, draw(st.integers(1, len(passages)))


def unit(rng: np.random.Generator, rows: int, dimensions: int = 24, shift: float = 0.5) -> Floats:
    """Unit vectors around a common mean, as encoders make them."""
    made = rng.standard_normal((rows, dimensions)) + shift
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
