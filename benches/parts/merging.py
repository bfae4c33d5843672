"""One way of merging in a process of its own, so that its memory is its own; and the segments that all of them merge.

`python -m benches.parts.merging '{"engine": ..., ...}'` loads what is wanted, times the merge and writes its scores.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.harness import timed

K = 100  # candidates a query
SEGMENTS = 8
AGAIN = 0.05  # of the records stand twice, half of them with another score
ABSENT = 0.01  # of the pairs have no score yet
CHUNK = 1 << 20  # records appended at once
RECORD = np.dtype([("q0", "<u8"), ("q1", "<u8"), ("p0", "<u8"), ("p1", "<u8"), ("score", "<f4"), ("check", "<u4")])
HEADER = 32
KEYS = ["q0", "q1", "p0", "p1"]

Scores = NDArray[np.float32]
Keys = NDArray[np.uint64]  # [m, 2]
Merge = Callable[[], Scores]


STORE = "a store"


@dataclass(frozen=True)
class Task:
    """What an engine is asked.

    Arguments:
        engine: a key of ENGINES.
        folder: of `make`.
        repeats: of the timing.
        out: the .npy that takes the scores [pairs].
    """

    engine: str
    folder: str
    repeats: int
    out: str

    def load(self, name: str) -> NDArray[Any]:
        """An array of `make`, in memory."""
        loaded: NDArray[Any] = np.load(Path(self.folder) / f"{name}.npy")
        return loaded

    @property
    def segments(self) -> list[str]:
        """In order."""
        return sorted(str(path) for path in Path(self.folder).glob("*.scores"))

    def pairs(self) -> tuple[Keys, Keys]:
        """The keys of every pair [pairs, 2], those of queries and those of passages."""
        return np.repeat(self.load("queries"), K, axis=0), self.load("passages")[self.load("rows").reshape(-1)]


def make(folder: Path, pairs: int) -> Scores:
    """Write keys, candidates and segments; the records are shuffled over the segments.

    Arguments:
        folder: takes `queries.npy` [Q, 2], `passages.npy` [n, 2], `rows.npy` [Q, k] and the segments.
        pairs: Q x k; there is a passage for 20 of them.

    Returns:
        [pairs] the first score of each, NaN where there is none.
    """
    rng = np.random.default_rng(5)
    queries = rng.integers(0, 2**64, (pairs // K, 2), dtype=np.uint64)
    passages = rng.integers(0, 2**64, (max(K, pairs // 20), 2), dtype=np.uint64)
    rows = _rows(rng, len(queries), len(passages))
    for name, values in (("queries", queries), ("passages", passages), ("rows", rows)):
        np.save(folder / f"{name}.npy", values)
    stream, scores = _records(rng, rows.size)
    for number, (pair, score) in enumerate(zip(np.array_split(stream, SEGMENTS), np.array_split(scores, SEGMENTS), strict=True)):
        _write(folder / f"segment-{number:06d}.scores", queries, passages, rows, pair, score)
    expected = np.full(rows.size, np.nan, dtype=np.float32)
    expected[stream[::-1]] = scores[::-1]  # the last one written here is the first of the stream
    return expected


def _rows(rng: np.random.Generator, queries: int, passages: int) -> NDArray[np.uint32]:
    """Random candidates [Q, k], all of a query different: one out of each of k parts of the passages, from anywhere on."""
    part = passages // K
    rows = rng.integers(0, part, (queries, K), dtype=np.uint32) + np.arange(K, dtype=np.uint32) * np.uint32(part)
    return (rows + rng.integers(0, passages, (queries, 1), dtype=np.uint32)) % np.uint32(passages)


def _records(rng: np.random.Generator, pairs: int) -> tuple[NDArray[np.uint32], Scores]:
    """The pair and the score of every record."""
    stream = np.arange(pairs, dtype=np.uint32)
    rng.shuffle(stream)
    stream = stream[: int(len(stream) * (1 - ABSENT))]
    scores = rng.normal(-3, 1, len(stream)).astype(np.float32)
    twice = rng.integers(0, len(stream), int(len(stream) * AGAIN))
    other = scores[twice] - (np.arange(len(twice)) % 2).astype(np.float32)
    order = rng.permutation(len(stream) + len(twice))
    return np.concatenate([stream, stream[twice]])[order], np.concatenate([scores, other])[order]


def _write(path: Path, queries: Keys, passages: Keys, rows: NDArray[np.uint32], pairs: NDArray[np.uint32], scores: Scores) -> None:
    from umr._rust import ScoreLog

    log, flat = ScoreLog.create(str(path), STORE), rows.reshape(-1)
    for start in range(0, len(pairs), CHUNK):
        at = pairs[start : start + CHUNK]
        log.append(queries[at // K], passages[flat[at]], scores[start : start + CHUNK])
    log.close()


def _table(task: Task) -> Merge:
    from umr._rust import merge_stores

    queries, passages, rows = task.load("queries"), task.load("passages"), task.load("rows")
    return lambda: merge_stores([(STORE, task.segments)], queries, passages, rows)[0].reshape(-1)


def _columns(task: Task) -> dict[str, NDArray[np.uint64]]:
    queries, passages = task.pairs()
    columns = {"q0": queries[:, 0], "q1": queries[:, 1], "p0": passages[:, 0], "p1": passages[:, 1]}
    return {name: np.ascontiguousarray(values) for name, values in columns.items()}


def _read(task: Task) -> dict[str, NDArray[Any]]:
    """The records of all segments as columns, without a look at their checksums."""
    parts = [np.fromfile(path, dtype=RECORD, offset=HEADER) for path in task.segments]
    return {name: np.concatenate([part[name] for part in parts]) for name in [*KEYS, "score"]}


def _pandas(task: Task) -> Merge:
    import pandas

    wanted = pandas.DataFrame(_columns(task), copy=False)

    def run() -> Scores:
        records = pandas.DataFrame(_read(task), copy=False).drop_duplicates(KEYS, keep="first")
        scores: Scores = wanted.merge(records, how="left", on=KEYS)["score"].to_numpy()
        return scores

    return run


def _polars(task: Task, lazy: bool) -> Merge:
    import polars

    wanted = polars.DataFrame(_columns(task))

    def run() -> Scores:
        records = polars.DataFrame(_read(task))
        if not lazy:
            first = records.unique(KEYS, keep="first", maintain_order=False)
            joined = wanted.join(first, on=KEYS, how="left", maintain_order="left")
        else:
            plan = records.lazy().unique(KEYS, keep="first", maintain_order=False)
            joined = wanted.lazy().join(plan, on=KEYS, how="left", maintain_order="left").select("score").collect(engine="streaming")
        return joined["score"].fill_null(float("nan")).to_numpy()

    return run


def _polars_numbered(task: Task) -> Merge:
    import polars

    queries, passages, rows = task.load("queries"), task.load("passages"), task.load("rows")
    numbers = np.arange(len(queries), dtype=np.uint64)[:, None] * np.uint64(len(passages)) + rows
    wanted = polars.DataFrame({"pair": numbers.reshape(-1)})
    tables = [
        polars.DataFrame({f"{side}0": keys[:, 0], f"{side}1": keys[:, 1], side: np.arange(len(keys), dtype=np.uint64)})
        for side, keys in (("q", queries), ("p", passages))
    ]

    def run() -> Scores:
        records = polars.DataFrame(_read(task)).lazy()
        for side, table in zip("qp", tables, strict=True):
            records = records.join(table.lazy(), on=[f"{side}0", f"{side}1"], maintain_order="left").drop(f"{side}0", f"{side}1")
        pair = (polars.col("q") * len(passages) + polars.col("p")).alias("pair")
        first = records.select(pair, "score").unique("pair", keep="first", maintain_order=False)
        joined = wanted.lazy().join(first, on="pair", how="left", maintain_order="left").select("score").collect()
        return joined["score"].fill_null(float("nan")).to_numpy()

    return run


ENGINES: dict[str, Callable[[Task], Merge]] = {
    "umr": _table,
    "pandas": _pandas,
    "polars": lambda task: _polars(task, lazy=False),
    "polars, streaming": lambda task: _polars(task, lazy=True),
    "polars, numbered": _polars_numbered,
}


def read_once(paths: list[str]) -> None:
    """Bring files into the page cache, so that the first engine pays for no disk."""
    block = bytearray(CHUNK)
    for path in paths:
        with Path(path).open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def main() -> None:
    """Merge, time, write."""
    task = Task(**json.loads(sys.argv[1]))
    merge = ENGINES[task.engine](task)
    read_once(task.segments)
    before = time.process_time()
    seconds, scores = timed(merge, task.repeats, lambda: None)
    spent = (time.process_time() - before) / task.repeats
    np.save(task.out, scores)
    print(json.dumps({"seconds": seconds, "CPU seconds": spent}))


if __name__ == "__main__":
    main()
