"""The exact answer the slow way: every passage against some queries, in f64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.parts.agreement import twin_scores
from benches.parts.scaled import SHARD, Scaled

Lists = list[tuple[NDArray[Any], NDArray[np.float32]]]
BLOCK = 32_768
ROUNDING = 1e-5  # of scores about 1: far more than any rounding moves them


def brute_force(task: Scaled, chosen: NDArray[Any]) -> Lists:
    """Rows and scores of the k best of some queries: sums in f64 choose, the twin's scores decide.

    Arguments:
        task: where the vectors are.
        chosen: numbers of the queries.
    """
    queries = np.fromfile(task.queries, dtype=np.float32).reshape(-1, task.dimensions)[chosen]
    columns = queries.T.astype(np.float64)  # [d, m]
    candidates: list[list[NDArray[Any]]] = [[] for _ in chosen]
    floors = np.full(len(chosen), -np.inf)
    first = 0
    for path, _, rows in task.shards():
        vectors = np.memmap(path, dtype=np.float16, mode="r", shape=(rows, task.dimensions))
        for start in range(0, rows, BLOCK):
            block = vectors[start : start + BLOCK].astype(np.float64)
            scores = block @ columns  # [rows, m]
            for at, column in enumerate(scores.T):
                _keep(candidates[at], column, first + start, floors, at, task.k)
        first += rows
    return [_decide(task, queries[at], candidates[at]) for at in range(len(chosen))]


def _keep(candidates: list[NDArray[Any]], scores: NDArray[Any], first: int, floors: NDArray[Any], at: int, k: int) -> None:
    """Add what may be among the best; [2, some] rows and scores."""
    there = np.flatnonzero(scores >= floors[at] - ROUNDING)
    candidates.append(np.stack([there + first, scores[there]]))
    everything = np.concatenate(candidates, axis=1)
    if everything.shape[1] > k:
        floors[at] = np.partition(everything[1], -k)[-k]
        everything = everything[:, everything[1] >= floors[at] - ROUNDING]
    candidates[:] = [everything]


def _decide(task: Scaled, query: NDArray[np.float32], candidates: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    rows = np.concatenate(candidates, axis=1)[0].astype(np.int64)
    shards = task.shards()
    vectors = np.empty((len(rows), task.dimensions), dtype=np.float32)
    for at, row in enumerate(rows):
        path, _, count = shards[row // SHARD]
        vectors[at] = np.memmap(path, dtype=np.float16, mode="r", shape=(count, task.dimensions))[row % SHARD]
    scores = twin_scores(query, vectors)
    order = np.lexsort((rows, -scores.astype(np.float64)))[: task.k]
    return rows[order], scores[order]
