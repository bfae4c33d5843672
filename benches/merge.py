"""Merging score segments beside pandas and polars: how long until every candidate has its score?

Wanted are the scores of 200,000 queries x 100 candidates; a million passages. Eight segments hold 99 % of the pairs
in shuffled order, 5 % of them twice, and the first score counts. Everybody merges from the segment files, which lie in
the page cache, and has what is wanted in memory before the clock starts. umr checks the checksum of every record; the
rivals load the records without (np.fromfile), drop the duplicates and join from the left.

umr has the keys of queries and of passages, and which passages each query has. The rivals join on the four u64
columns of the keys of every pair; polars also on one number a pair, which it gets for the records by joining the keys of
queries and of passages first, and for what is wanted for free.

Compared are seconds (median of 3, loading included; beside them the mean CPU seconds of all threads, which other work on
the machine moves less) and peak anonymous memory (RssAnon, inputs included); each engine has a process of its own. All
scores must be equal to the last bit.

Targets: umr faster than the fastest rival, and 100 million pairs within 8 GB: what a pair takes, times
100 million.

    .venv/bin/python benches/merge.py            about 10 minutes on 2 cores, 12 GiB of memory, 1.5 GB of disk
    .venv/bin/python benches/merge.py --check    the same; exit 0 exactly when the targets hold
    .venv/bin/python benches/merge.py --pairs 100000000 --alone    umr at full size: 6 GB of disk
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import DiffersError, Report, bench, parser, positive, require_package, say
from benches.parts.machine import Finished, child
from benches.parts.merging import ENGINES, Scores, Task, make

OURS = "umr"
FULL = 100_000_000  # pairs
ROOM = 8e9 / 2**20  # MiB for them


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    made.add_argument("--pairs", type=positive, default=20_000_000, help="a multiple of 100")
    made.add_argument("--alone", action="store_true", help="without the rivals")
    return made


def main(args: argparse.Namespace, report: Report) -> None:
    """Time every engine, after their results were compared."""
    for package in ("pandas", "polars"):
        require_package(package, package)
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        say(f"writing segments of {args.pairs:,} pairs")
        expected = make(Path(name), args.pairs)
        report.fact("segments", f"{sum(p.stat().st_size for p in Path(name).glob('*.scores')) / 1e9:.2f} GB")
        engines = [engine for engine in ENGINES if not args.alone or engine == OURS]
        finished = {engine: run(args, engine, Path(name), expected) for engine in engines}
    decide(args, report, finished)


def run(args: argparse.Namespace, engine: str, folder: Path, expected: Scores) -> Finished:
    """One engine in its process; its scores are compared and removed."""
    say(engine)
    out = folder / "scores.npy"
    task = Task(engine, str(folder), args.repeats, str(out))
    threads = dict.fromkeys(("RAYON_NUM_THREADS", "POLARS_MAX_THREADS"), str(args.threads))
    finished = child(["-m", "benches.parts.merging", json.dumps(asdict(task))], threads)
    scores = np.load(out)
    out.unlink()
    wrong = int(np.count_nonzero((scores != expected) & ~(np.isnan(scores) & np.isnan(expected))))
    if wrong:
        raise DiffersError(f"{engine}: {wrong:,} scores are not the first ones")
    return finished


def decide(args: argparse.Namespace, report: Report, finished: dict[str, Finished]) -> None:
    """The table and the targets."""
    fastest = min((f.value["seconds"] for engine, f in finished.items() if engine != OURS), default=float("nan"))
    for engine, found in finished.items():
        seconds = found.value["seconds"]
        report.row(**{
            "engine": engine, "seconds": seconds, "CPU seconds": found.value["CPU seconds"], "million pairs/s": args.pairs / seconds / 1e6,
            "fastest rival / this": None if args.alone else fastest / seconds, "anonymous MiB": found.anonymous,
            "GB at 100 million pairs": found.anonymous * 2**20 / 1e9 * FULL / args.pairs, "scores": "equal",
        })  # fmt: skip
    ours = finished[OURS]
    if not args.alone:
        report.target("times the fastest rival", fastest / ours.value["seconds"], 1, strict=True)
    report.target("MiB at 100 million pairs", ours.anonymous * FULL / args.pairs, ROOM, at_least=False)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
