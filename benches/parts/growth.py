"""How the time of exact search grows with passages and with queries: a table and a straight line through it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches.harness import Report, say, timed

Floats = NDArray[np.float32]
PART = 125_000  # passages of one shard
DIMENSIONS = 384
PASSAGES = (125_000, 250_000, 500_000, 1_000_000, 2_000_000)
QUERIES = (125, 250, 500, 1000, 2000)
FIXED = 1000  # queries while passages grow
FIXED_PASSAGES = 500_000  # passages while queries grow
K = 100


def random_rows(seed: int, count: int, dimensions: int) -> Floats:
    """Random unit vectors, the same for the same seed."""
    values = np.random.default_rng(seed).standard_normal((count, dimensions), dtype=np.float32)
    lengths: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    return values / lengths


def growth(report: Report, folder: Path, threads: int, repeats: int) -> None:
    """Time umr over growing collections and growing sets of queries, and fit a line to each.

    Arguments:
        report: takes the rows and the fits.
        folder: takes 3 GiB of vectors and 0.8 GiB of int8 shards.
        threads, repeats: of every cell.
    """
    from umr._rust import write_int8_shards

    say(f"growth: writing {PASSAGES[-1]:,} x {DIMENSIONS} vectors")
    shards = [_shard(folder, part) for part in range(PASSAGES[-1] // PART)]
    int8_shards = [f"{path}.int8" for path, _, _ in shards]
    write_int8_shards(shards, "f32", DIMENSIONS, int8_shards, threads=threads)
    queries = random_rows(10_000, QUERIES[-1], DIMENSIONS)
    for name, grid in (
        ("passages", [(n, FIXED) for n in PASSAGES]),
        ("queries", [(FIXED_PASSAGES, q) for q in QUERIES]),
    ):
        seconds = [_seconds(shards[: n // PART], int8_shards[: n // PART], queries[:q], threads, repeats) for n, q in grid]
        for (n, q), took in zip(grid, seconds, strict=True):
            gops = 2 * n * q * DIMENSIONS / took / 1e9
            report.row(**{"data": f"{n:,} x {DIMENSIONS}, {q} queries", "engine": "umr f32", "seconds": took, "GFLOP/s": gops})
        _fit(report, name, [cell[0] if name == "passages" else cell[1] for cell in grid], seconds)


def _shard(folder: Path, part: int) -> tuple[str, int, int]:
    path = folder / f"growth-{part:03d}.f32"
    random_rows(part, PART, DIMENSIONS).tofile(path)
    return str(path), 0, PART


def _seconds(shards: list[tuple[str, int, int]], int8_shards: list[str], queries: Floats, threads: int, repeats: int) -> float:
    from umr._rust import search

    return timed(lambda: search(queries, shards, "f32", K, threads=threads, int8_shards=int8_shards), repeats)[0]


def _fit(report: Report, name: str, sizes: list[int], seconds: list[float]) -> None:
    from scipy.stats import linregress

    fit = linregress(sizes, seconds)
    report.fact(
        f"growth with {name}",
        f"{fit.intercept:.3f} s + {fit.slope * 1e6:.3f} s a million {name}; r^2 {fit.rvalue**2:.4f}",
    )
