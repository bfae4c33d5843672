"""What faults do to a work folder: kills, full disks, damaged files and pairs of processes, tried and survived.

Small work folders with random models, through the harnesses of tests/faults. Right is an end that is byte for byte that of a run
that nothing happened to, or a refusal by name. Targets: nothing else comes out.

    .venv/bin/python benches/reliability.py            more than an hour on one core; each fault is told as soon as it is tried
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import REPOSITORY, Report, bench, parser, positive, say

FAULTS = REPOSITORY / "tests" / "faults"
RESULTS = ("candidates.parquet", "labels.parquet", "encoder/model.safetensors")
STAGES = ("mine", "label", "train")
REFUSED = 3  # exit code of a harness for an error of umr
SECONDS = 7200
Job = dict[str, Any]


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cell."""
    made = parser(__doc__)
    made.add_argument("--kills", type=positive, default=100, help="kills of the loop, and full disks [default: 100]")
    made.add_argument("--places", type=positive, default=20, help="places in a file that are damaged [default: 20]")
    made.add_argument("--times", type=positive, default=5, help="times that two processes meet [default: 5]")
    return made


def harness(name: str, *arguments: str) -> list[Any]:
    """What a harness of tests/faults prints: a line of JSON or several."""
    paths = [str(REPOSITORY / "python"), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(FAULTS / name), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS)
    if ran.returncode:
        raise RuntimeError(f"{name} failed: {ran.stderr[-2000:]}")
    return [json.loads(line) for line in ran.stdout.splitlines()]


def made(folder: Path, passages: int, queries: int) -> Any:
    """The models and a corpus in a folder; the module that made them."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    tiny = import_module("tiny")
    tiny.encoder(folder / "bert")
    tiny.llama(folder / "llama")
    tiny.llama(folder / "other", seed=1)
    return tiny.tiny_corpus(folder / "corpus", passages, queries)


def results(work: Path) -> list[bytes]:
    """What the stages of a round hand on."""
    return [(work / "round-0" / name).read_bytes() for name in RESULTS if (work / "round-0" / name).exists()]


def loop(folder: Path, args: argparse.Namespace, report: Report) -> None:
    """The whole loop, killed at random moments, and with a limit on the size of files."""
    made(folder, 200, 24)
    draw = random.Random(0)
    jobs: list[Job] = [{"work": str(folder / "whole"), "kill": None, "limit": None}]
    jobs += [{"work": str(folder / f"kill-{n}"), "kill": draw.uniform(0.02, 0.98), "limit": None} for n in range(args.kills)]
    jobs += [{"work": str(folder / f"full-{n}"), "kill": None, "limit": int(2 ** draw.uniform(6, 17))} for n in range(args.kills)]
    (ends,) = harness("loop_forks.py", str(folder), json.dumps(jobs))
    whole = results(folder / "whole")
    killed = [(job, end) for job, end in zip(jobs, ends, strict=True) if job["kill"] is not None and end["first"] < 0]
    full = [(job, end) for job, end in zip(jobs, ends, strict=True) if job["limit"] is not None and end["first"] != 0]
    row(report, "kill of the loop", [end["last"] == 0 and results(Path(job["work"])) == whole for job, end in killed])
    row(report, "full disk", [end["first"] == REFUSED and end["last"] == 0 and results(Path(job["work"])) == whole for job, end in full])


def one_stage(folder: Path, args: argparse.Namespace, report: Report) -> None:
    """Mining and labelling, each killed again and again: the tests of these harnesses compare the bytes."""
    many = os.environ | {"UMR_RANK_KILLS": str(max(1, args.kills // 6))}
    for name, what in (("killed_mining", "20 kills of mining in a row"), ("killed_labelling", "20 kills of labelling in a row"),
                       ("ranks", f"about {args.kills} kills of ranks, 2 to 4 at once")):  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", str(FAULTS / f"test_{name}.py")]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=SECONDS, env=many)
        row(report, what, [ran.returncode == 0])


def files(folder: Path, args: argparse.Namespace, report: Report) -> None:
    """Every kind of file of a work folder, damaged."""
    made(folder, 40, 16)
    whole, *cases = harness("every_file_forks.py", str(folder), str(args.places))
    report.fact("kinds of files", len(whole["kinds"]))
    for damage in sorted({case["damage"] for case in cases}):
        some = [case for case in cases if case["damage"] == damage]
        right = [case["same"] if case["code"] == 0 else case["named"] and case["code"] in (1, 2) for case in some]
        row(report, f"file: {damage}", right, healed=sum(c["code"] == 0 for c in some), refused=sum(c["code"] in (1, 2) for c in some))


def pairs(folder: Path, args: argparse.Namespace, report: Report) -> None:
    """Two stages at once in one round."""
    import umr

    corpus = made(folder, 13, 10)
    lm, base = str(folder / "llama"), folder / "base"
    encoder = umr.EncoderConfig(model=str(folder / "bert"), pooling="mean", similarity="cosine")
    work = umr.create_workspace(base, [str(corpus.passages)], [str(corpus.queries)], encoder)
    umr.mine(work, umr.MineConfig(top_k=6, shard_rows=5))
    umr.label(work, umr.LabelConfig(lm=lm, precision="fp32"))
    umr.train(work, umr.TrainConfig(epochs=1, batch_size=4, passages_per_query=3))
    names = [(a, b) for a, b in combinations_with_replacement(STAGES, 2) for _ in range(args.times)]
    jobs = [{"work": str(folder / f"{a}-{b}-{n}"), "stages": [a, b]} for n, (a, b) in enumerate(names)]
    for job in jobs:
        shutil.copytree(base, str(job["work"]))
    right = [
        {code for _, code, _ in forks} <= {0, REFUSED} and any(code == 0 for _, code, _ in forks) and verified(Path(str(job["work"])))
        for job, forks in zip(jobs, *harness("pair_forks.py", lm, json.dumps(jobs)), strict=True)
    ]
    row(report, "two processes in one round", right)


def verified(work: Path) -> bool:
    """Whether `umr status --verify` finds every file as it was written."""
    command = [sys.executable, "-c", "from umr.cli import main; main()", "status", str(work), "--verify"]
    return subprocess.run(command, capture_output=True, cwd=REPOSITORY / "python", timeout=SECONDS).returncode == 0


def row(report: Report, fault: str, right: list[bool], **more: int) -> None:
    """One fault: tried and survived."""
    report.row(fault=fault, tried=len(right), survived=sum(right), **more)
    say(f"{fault}: {sum(right):,} of {len(right):,} survived")
    report.target(f"{fault}: not survived", len(right) - sum(right), 0, at_least=False)


def main(args: argparse.Namespace, report: Report) -> None:
    """Try every fault, each in a folder of its own."""
    parts: tuple[Callable[[Path, argparse.Namespace, Report], None], ...] = (loop, one_stage, files, pairs)
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="umr-reliability-") as folder:
            part(Path(folder), args, report)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
