"""One search engine in a process of its own, so that its memory is its own.

`python -m benches.parts.engines '{"engine": ..., ...}'` maps the vectors, times the search and writes its lists.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.harness import stopwatch, timed

Lists = tuple[NDArray[Any], NDArray[np.float32]]  # rows [Q, k], scores [Q, k]
Search = Callable[[NDArray[np.float32]], Lists]
WARM_UP = 64  # queries
CHUNK = 65536  # passages in one block of torch's search


@dataclass(frozen=True)
class Task:
    """What an engine is asked.

    Arguments:
        engine: a key of ENGINES.
        passages, queries: raw little-endian files.
        dtype: of the passages, f32 or f16; queries are f32.
        count, dimensions: of the passages.
        query_count: the first so many queries.
        k, threads, repeats: of the search and its timing.
        out: the .npz that takes the lists.
    """

    engine: str
    passages: str
    queries: str
    dtype: str
    count: int
    dimensions: int
    query_count: int
    k: int
    threads: int
    repeats: int
    out: str

    def vectors(self) -> NDArray[np.float32]:
        """The passages, mapped; private pages, so that torch takes them."""
        return np.memmap(self.passages, dtype=np.float32, mode="c", shape=(self.count, self.dimensions))


def _umr(task: Task) -> Search:
    from umr._rust import search, write_int8_shards

    shards = [(task.passages, 0, task.count)]
    int8_shards = [f"{task.passages}-{task.count}.int8"]
    dtype: Any = task.dtype
    write_int8_shards(shards, dtype, task.dimensions, int8_shards, threads=task.threads)
    return lambda queries: search(queries, shards, dtype, task.k, threads=task.threads, int8_shards=int8_shards)


def _faiss(task: Task) -> Search:
    import faiss

    faiss.omp_set_num_threads(task.threads)
    index = faiss.IndexFlatIP(task.dimensions)
    index.add(task.vectors())

    def run(queries: NDArray[np.float32]) -> Lists:
        scores, rows = index.search(queries, task.k)
        return rows, scores

    return run


def _torch(task: Task, half: bool) -> Search:
    import torch

    torch.set_num_threads(task.threads)
    dtype = torch.bfloat16 if half else torch.float32
    passages = torch.from_numpy(task.vectors()).to(dtype)

    def run(queries: NDArray[np.float32]) -> Lists:
        wanted = torch.from_numpy(queries).to(dtype)
        scores, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long)
        for start in range(0, task.count, CHUNK):
            block = (wanted @ passages[start : start + CHUNK].T).float()
            best, at = block.topk(min(task.k, block.shape[1]), 1)
            scores, rows = torch.cat([scores, best], 1), torch.cat([rows, at + start], 1)
            scores, order = scores.topk(min(task.k, scores.shape[1]), 1)
            rows = rows.gather(1, order)
        return rows.numpy(), scores.numpy()

    return run


def _usearch(task: Task, kind: str) -> Search:
    from usearch.index import MetricKind, search  # type: ignore[attr-defined]

    def cast(values: NDArray[np.float32]) -> NDArray[Any]:
        if kind == "f32":
            return np.ascontiguousarray(values)
        return values.astype(np.float16) if kind == "f16" else np.clip(np.rint(values * 508), -127, 127).astype(np.int8)

    passages = cast(task.vectors())

    def run(queries: NDArray[np.float32]) -> Lists:
        found = search(passages, cast(queries), task.k, MetricKind.IP, exact=True, threads=task.threads)
        return np.asarray(found.keys), 1 - np.asarray(found.distances, dtype=np.float32)

    return run


ENGINES: dict[str, Callable[[Task], Search]] = {
    "umr": _umr,
    "FAISS IndexFlatIP f32": _faiss,
    "torch f32": lambda task: _torch(task, half=False),
    "torch bf16": lambda task: _torch(task, half=True),
    "usearch exact f32": lambda task: _usearch(task, "f32"),
    "usearch exact f16": lambda task: _usearch(task, "f16"),
    "usearch exact i8": lambda task: _usearch(task, "i8"),
}


def main() -> None:
    """Search, time, write."""
    warnings.simplefilter("ignore")
    task = Task(**json.loads(sys.argv[1]))
    queries = np.fromfile(task.queries, dtype=np.float32).reshape(-1, task.dimensions)[: task.query_count]
    built: list[float] = []
    with stopwatch(built):
        search = ENGINES[task.engine](task)
    seconds, (rows, scores) = timed(lambda: search(queries), task.repeats, lambda: search(queries[:WARM_UP]))
    np.savez(Path(task.out), rows=rows.astype(np.int64), scores=scores)
    print(json.dumps({"seconds": seconds, "built": built[0]}))


if __name__ == "__main__":
    main()
