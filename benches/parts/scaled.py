"""Very many vectors in shards, and the search over them in a process of its own.

`python -m benches.parts.scaled '{"folder": ..., ...}'` writes the int8 shards, searches, writes its lists and prints what it took.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benches.parts.growth import random_rows

SHARD = 262_144


@dataclass(frozen=True)
class Scaled:
    """What is searched.

    Arguments:
        folder: of everything.
        count, dimensions: of the passages.
        query_count: queries.
        k, threads: of the search.
    """

    folder: str
    count: int
    dimensions: int
    query_count: int
    k: int
    threads: int

    @property
    def queries(self) -> Path:
        """Raw f32."""
        return Path(self.folder) / "queries.f32"

    @property
    def out(self) -> Path:
        """The lists."""
        return Path(self.folder) / "lists.npz"

    def shards(self) -> list[tuple[str, int, int]]:
        """Path, offset and rows of every shard of f16."""
        starts = range(0, self.count, SHARD)
        return [(f"{self.folder}/{n:04d}.f16", 0, min(SHARD, self.count - start)) for n, start in enumerate(starts)]


def write_shards(task: Scaled) -> None:
    """Random unit vectors: each shard turns those of the first one, by an order and signs of the dimensions of its own."""
    base = random_rows(0, min(SHARD, task.count), task.dimensions).astype(np.float16).view(np.uint16)
    for number, (path, _, rows) in enumerate(task.shards()):
        rng = np.random.default_rng(number + 2)
        order = rng.permutation(task.dimensions)
        signs = (rng.integers(0, 2, task.dimensions) << 15).astype(np.uint16)
        (base[:rows, order] ^ signs).tofile(path)


def main() -> None:
    """Write the int8 shards, search, write the lists."""
    from umr._rust import search, write_int8_shards

    task = Scaled(**json.loads(sys.argv[1]))
    queries = np.fromfile(task.queries, dtype=np.float32).reshape(-1, task.dimensions)
    shards = task.shards()
    int8_shards = [f"{path}.int8" for path, _, _ in shards]
    times = [time.perf_counter()]
    write_int8_shards(shards, "f16", task.dimensions, int8_shards, threads=task.threads)
    times.append(time.perf_counter())
    state = str(Path(task.folder) / "search.state")
    rows, scores = search(queries, shards, "f16", task.k, threads=task.threads, int8_shards=int8_shards, checkpoint=state)
    times.append(time.perf_counter())
    np.savez(task.out, rows=rows, scores=scores)
    print(json.dumps({"quantise": times[1] - times[0], "search": times[2] - times[1], "resident": _resident()}))


def _resident() -> int:
    """Bytes that were resident at most since this program began; `ru_maxrss` would count its parent at the fork too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
