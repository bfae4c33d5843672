"""Encoding, labelling, training and search on a GPU, each beside its rival in the same run.

Every row runs in a process of its own under its own time limit, and is written to the JSON file as soon as it exists. Weights
are random, of the true shapes, and made on the device; texts are those of train-small, token ids those of a vocabulary that is
made of them. Rows:

    encode      e5-small's shape, bf16 and fp32: texts to files of vectors, against sentence-transformers' encode at its best batch
    label       Gemma 3 270M's shape at sharing 6 and 16, and a 4B shape at 6: against plain padded batches of whole pairs, and
                the loop of the reference (batches of 4 pairs, all logits)
    mt5         mT5-XL's shape at sharing 6, against the same loop
    train       steps of 64 queries with 16 passages each, against sentence-transformers' cached loss on the same texts
    search      2 million vectors of 768 numbers on disk, 1,000 queries, against torch's matmul and topk over the same chunks
    forecast    a whole small round: what --dry-run said of each stage, and what it took

busy: the share of the time in which the GPU ran anything, by nvidia-smi. Targets are those of one H200.

    python benches/gpu.py --json FILE      complete within 8 minutes on one H100 or H200
    python benches/gpu.py --toy            every row at toy size, on a processor too
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import REPOSITORY, Report, bench, parser, say

ROWS = {
    "search": 60, "encode bf16": 60, "encode fp32": 50, "label 270m 6": 60, "label 270m 16": 50, "mt5": 70, "train": 60,
    "forecast": 60, "label 4b 6": 80,
}  # fmt: skip
"""Row -> seconds that it may take, the most important first where the time runs out."""
ALL_SECONDS, TOY_SECONDS = 470, 600
TAIL = 600  # characters of a failed row's talk that are shown


def options() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    made = parser(__doc__)
    made.add_argument("--toy", action="store_true", help="toy sizes: shows that every row runs, decides nothing")
    made.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="which rows [default: all]")
    return made


def main(args: argparse.Namespace, report: Report) -> None:
    """Run the rows, one after the other."""
    begun = time.monotonic()
    for name in args.rows:
        left = ALL_SECONDS - (time.monotonic() - begun)
        found: dict[str, Any] = {"problem": "no time was left"}
        if args.toy or left > 0:
            found = run(name, TOY_SECONDS if args.toy else min(ROWS[name], left), args.toy)
        report.row(row=name, **{key: value for key, value in found.items() if key != "targets"})
        for what, value, bound, at_least in found.get("targets", []):
            report.target(f"{name}: {what}", value, bound, at_least)
        if args.json:
            args.json.with_suffix(".rows.json").write_text(json.dumps(report.rows, indent=1) + "\n", encoding="utf-8")
    if missing := [row["row"] for row in report.rows if "problem" in row]:
        raise RuntimeError(f"no figures of {', '.join(missing)}")


def run(name: str, seconds: float, toy: bool) -> dict[str, Any]:
    """One row: its figures, or what was the matter with it."""
    say(f"{name}: at most {seconds:.0f} s")
    start = time.monotonic()
    command = [sys.executable, "-m", "benches.parts.gpu_rows", name, *(["toy"] if toy else [])]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"problem": f"not ended after {seconds:.0f} s"}
    if ended.returncode:
        return {"problem": ended.stderr[-TAIL:].strip()}
    found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found | {"row seconds": time.monotonic() - start}


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
