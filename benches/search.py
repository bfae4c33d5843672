"""Exact top-k beside FAISS IndexFlatIP, torch and usearch: is mining faster than what a user would pick instead?

Every engine runs in a process of its own over the same vectors, with the same threads, and finds the k best of 500,000
passages for 1,000 queries: random unit vectors of 768 dimensions (the hard case for screening), and real e5-small
embeddings of 384 (20,000 passages of train-mix, their first 64 tokens, encoded once by umr and kept in the cache folder;
repeated with a little noise). Compared are seconds (median of 3 after a warm-up of 64 queries), useful GFLOP/s
(2 x passages x dimensions x queries), and peak anonymous memory (RssAnon: what is mapped does not count).

Equality: our lists equal the f64 twin bit by bit on some queries; FAISS's and torch's f32 lists have scores within 1e-6
and the same ids wherever scores differ by more. For information only, because they are not exact or far behind: torch in
bf16, usearch exact in f32, f16 and i8 (on a tenth of the queries); their recall is shown. Without --check also: k = 10
and 1000, one thread, vectors stored in f16, and how the time grows with passages and queries.

What is made once is not timed: FAISS's and torch's copies in memory, umr's int8 shard on disk ("built" has its seconds).

Targets: at least 2.8x the fastest exact rival on both data, and at most 0.4x FAISS's anonymous memory.

    .venv/bin/python benches/search.py            about 15 minutes on 2 cores, and once 5 to 10 to encode
    .venv/bin/python benches/search.py --check    about 3 minutes (and the encoding); exit 0 exactly when the targets hold
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import Report, UnavailableError, bench, parser, positive, require_package, say
from benches.parts.agreement import recall, require_same, require_twin
from benches.parts.engines import Lists, Task
from benches.parts.growth import growth
from benches.parts.machine import Finished, Peaks, child
from benches.parts.vectors import Vectors, make_random, make_real

EXACT = ("FAISS IndexFlatIP f32", "torch f32")
OTHERS = {"torch bf16": 1, "usearch exact f32": 10, "usearch exact f16": 10, "usearch exact i8": 10}  # a tenth is enough
TWINS = 3  # queries that are compared with the twin
MIN_SPEEDUP = 2.8  # over the fastest exact rival
MAX_MEMORY_SHARE = 0.4  # of FAISS's anonymous memory


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    made.add_argument("--passages", type=positive, default=500_000)
    made.add_argument("--dimensions", type=positive, default=768, help="of the random vectors; real ones have 384")
    made.add_argument("--queries", type=positive, default=1000)
    made.add_argument("--k", type=positive, default=100)
    made.add_argument("--storage", choices=("f32", "f16"), default="f32", help="of the vectors that umr searches")
    made.add_argument("--data", choices=("both", "random", "real"), default="both")
    return made


def main(args: argparse.Namespace, report: Report) -> None:
    """Time every engine, after their results were compared."""
    for module, package in (("faiss", "faiss-cpu"), ("torch", "torch"), ("usearch", "usearch")):
        require_package(module, package)
    if args.k > args.passages:
        raise UnavailableError(f"k is {args.k}, but there are {args.passages} passages")
    peaks = Peaks()
    peaks.look(args.gemm, args.threads)
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        if args.data != "real":
            compare(args, report, make_random(Path(name), args.passages, args.dimensions, args.queries, args.storage), Path(name))
        if args.data != "random":
            compare(args, report, make_real(Path(name), args.passages, args.queries, args.storage), Path(name))
        if not args.check and args.data == "both":
            growth(report, Path(name), args.threads, args.repeats)
    peaks.look(args.gemm, args.threads)
    report.fact("GEMM peak", str(peaks))


def compare(args: argparse.Namespace, report: Report, data: Vectors, folder: Path) -> None:
    """All engines on one kind of data."""
    ours, mine = run(args, data, "umr", folder)
    require_ours(data, mine)
    show(args, report, data, f"umr {data.dtype}", ours, ours, "= twin")
    finished = {}
    for engine in EXACT:
        finished[engine], lists = run(args, data, engine, folder)
        worst = require_same(engine, mine, lists)
        show(args, report, data, engine, finished[engine], ours, f"within {worst:.0e}")
    if not args.check:
        inform(args, report, data, folder, ours, mine)
        other_cells(args, report, data, folder)
    fastest = min(finished, key=lambda engine: float(finished[engine].value["seconds"]))
    ratio = finished[fastest].value["seconds"] / ours.value["seconds"]
    memory = ours.anonymous / finished["FAISS IndexFlatIP f32"].anonymous
    report.target(f"{data.kind}: times the fastest exact rival ({fastest})", ratio, MIN_SPEEDUP)
    report.target(f"{data.kind}: anonymous memory over FAISS's", memory, MAX_MEMORY_SHARE, at_least=False)


def other_cells(args: argparse.Namespace, report: Report, data: Vectors, folder: Path) -> None:
    """Other k, one thread, and the other storage, beside FAISS; timed once."""
    cells: list[dict[str, Any]] = [{"k": k} for k in (10, 1000) if k <= args.passages]
    cells += [{"threads": 1}] if args.threads > 1 else []
    cells += [{"storage": "f16"}] if args.storage == "f32" else []
    for cell in cells:
        here = argparse.Namespace(**{**vars(args), "repeats": 1, **cell})
        what = ", ".join(f"{name} {value}" for name, value in cell.items())
        vectors = data.as_f16() if "storage" in cell else data
        ours, mine = run(here, vectors, "umr", folder)
        require_ours(vectors, mine)
        show(here, report, vectors, f"umr {vectors.dtype}: {what}", ours, ours, "= twin")
        rival = EXACT[0]
        theirs, lists = run(here, vectors, rival, folder)
        show(here, report, vectors, f"{rival}: {what}", theirs, ours, f"within {require_same(rival, mine, lists):.0e}")


def inform(args: argparse.Namespace, report: Report, data: Vectors, folder: Path, ours: Finished, mine: Lists) -> None:
    """Engines that do not decide."""
    for engine, part in OTHERS.items():
        share = max(1, args.queries // part) / args.queries
        found, lists = run(args, data, engine, folder, share)
        show(args, report, data, engine, found, ours, f"recall {recall(mine[0], lists[0]):.4f}", share)


def run(args: argparse.Namespace, data: Vectors, engine: str, folder: Path, share: float = 1.0) -> tuple[Finished, Lists]:
    """One engine in its process."""
    say(f"{data.kind}: {engine}")
    stored, out = data.stored if engine == "umr" else data.as_f32, folder / "lists.npz"
    task = Task(
        engine, str(stored), str(data.queries), data.dtype, data.count, data.dimensions,
        round(args.queries * share), args.k, args.threads, args.repeats, str(out),
    )  # fmt: skip
    finished = child(["-m", "benches.parts.engines", json.dumps(asdict(task))])
    with np.load(out) as lists:
        return finished, (lists["rows"], lists["scores"])


def require_ours(data: Vectors, lists: Lists) -> None:
    """Some of our lists against the full sort by the twin's scores."""
    queries, passages = data.query_vectors(), data.passages()
    for number in np.linspace(0, len(queries) - 1, min(TWINS, len(queries))).astype(int):
        require_twin(queries[number], passages, lists[0][number], lists[1][number])


def show(
    args: argparse.Namespace,
    report: Report,
    data: Vectors,
    engine: str,
    found: Finished,
    ours: Finished,
    equal: str,
    share: float = 1.0,
) -> None:
    """A row of the table; a part of the queries is scaled up to all of them."""
    seconds = found.value["seconds"] / share
    work = 2 * data.count * data.dimensions * args.queries
    report.row(**{
        "data": f"{data.kind} {data.dimensions}", "engine": engine, "seconds": seconds, "GFLOP/s": work / seconds / 1e9,
        "umr is faster by": seconds / ours.value["seconds"], "built, s": found.value["built"],
        "anonymous MiB": found.anonymous, "equality": equal,
    })  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
