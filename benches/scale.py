"""The paper's scale on one small machine: 18.2 million passages, 15,250 queries, the exact top 100 of each.

Vectors are generated (random unit vectors of 384 dimensions, stored in f16 in shards of 262,144), which is not counted.
Counted are the int8 shards, written once a round, and the search, in a process of its own whose whole resident memory is
watched, mapped files included. The answers to some queries are compared with a brute-force pass in f64 over all vectors:
same rows, same bits of the scores.

Targets: at most 8 GB resident, and a search at 60 % of the int8 matrix peak that torch reaches in this run.

    .venv/bin/python benches/scale.py                       about 15 minutes on 2 cores and 22 GB of disk
    .venv/bin/python benches/scale.py --passages 1000000    any other size; larger than the disk: the largest that fits
    .venv/bin/python benches/scale.py --check               exit 0 exactly when the targets hold
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import DiffersError, Report, UnavailableError, bench, parser, positive, say
from benches.parts.brute import brute_force
from benches.parts.growth import random_rows
from benches.parts.machine import Finished, Peaks, child
from benches.parts.scaled import Scaled, write_shards

MAX_RESIDENT = 8e9  # bytes
MIN_PEAK_SHARE = 0.6  # of the int8 matrix peak
CHECKED = 20  # queries that are compared with brute force
FREE_DISK = 2e9  # bytes of disk that are left alone


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    made.add_argument("--passages", type=positive, default=18_200_000)
    made.add_argument("--dimensions", type=positive, default=384)
    made.add_argument("--queries", type=positive, default=15_250)
    made.add_argument("--k", type=positive, default=100)
    made.add_argument("--work", type=Path, default=None, help="folder that takes the vectors [default: the one for temporary files]")
    return made


def main(args: argparse.Namespace, report: Report) -> None:
    """Time every engine, after their results were compared."""
    peaks = Peaks()
    peaks.look(args.gemm, args.threads)
    with tempfile.TemporaryDirectory(prefix="umr-scale-", dir=args.work) as name:
        count = fitting(args, Path(name), report)
        task = Scaled(name, count, args.dimensions, args.queries, args.k, args.threads)
        say(f"writing {count:,} x {args.dimensions} vectors")
        write_shards(task)
        random_rows(1, args.queries, args.dimensions).tofile(task.queries)
        say("quantising and searching")
        finished = child(["-m", "benches.parts.scaled", json.dumps(asdict(task))])
        say(f"brute force for {CHECKED} queries")
        require_exact(task)
    peaks.look(args.gemm, args.threads)
    report.fact("GEMM peak", str(peaks))
    judge(args, report, count, finished, peaks)


def fitting(args: argparse.Namespace, folder: Path, report: Report) -> int:
    """The passages that the disk has room for, at most those asked for."""
    each = 2 * args.dimensions + args.dimensions + 24
    room = int((shutil.disk_usage(folder).free - FREE_DISK) / each)
    if room < args.k:
        raise UnavailableError(f"{folder} has no room for {args.k} vectors")
    if room < args.passages:
        report.fact("too little disk", f"{args.passages:,} passages need {args.passages * each / 1e9:.1f} GB; {room:,} fit and are used")
    return min(room, int(args.passages))


def require_exact(task: Scaled) -> None:
    """Some lists must be those of brute force, bit by bit.

    Raises:
        DiffersError: one is not.
    """
    with np.load(task.out) as lists:
        rows, scores = lists["rows"], lists["scores"]
    chosen = np.linspace(0, task.query_count - 1, min(CHECKED, task.query_count)).astype(int)
    expected = brute_force(task, chosen)
    for number, (want_rows, want_scores) in zip(chosen, expected, strict=True):
        same = np.array_equal(rows[number], want_rows) and np.array_equal(scores[number].view(np.uint32), want_scores.view(np.uint32))
        if not same:
            raise DiffersError(f"query {number}: rows {rows[number][:5]}..., brute force has {want_rows[:5]}...")


def judge(args: argparse.Namespace, report: Report, count: int, finished: Finished, peaks: Peaks) -> None:
    """The row of the table, and the targets."""
    value = finished.value
    work = 2 * count * args.dimensions * args.queries
    rate = work / value["search"] / 1e9
    report.row(**{
        "passages": f"{count:,} x {args.dimensions}", "queries": args.queries, "k": args.k, "int8 shards, s": value["quantise"],
        "search, s": value["search"], "Gop/s": rate, "of int8 peak": rate / peaks.int8,
        "resident GB": value["resident"] / 1e9, "anonymous MiB": finished.anonymous, "exact": f"{CHECKED} of {CHECKED}",
    })  # fmt: skip
    report.target("resident GB", value["resident"] / 1e9, MAX_RESIDENT / 1e9, at_least=False)
    report.target("share of the int8 matrix peak", rate / peaks.int8, MIN_PEAK_SHARE)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
