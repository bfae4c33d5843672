"""The cost model of `umr plan` beside runs of one and of two processes: small runs give the rates, and a larger one is foretold.

A run is `umr mine`, `umr label` and `umr train` of multilingual-e5-small and Gemma 3 270M on train-mix, from the shell, as a user has
it (two processes: `--workers 2`). Three sizes: the two smaller ones give each stage's tokens a second of one process (the plan's own
tokens, `--rate STAGE=TOKENS`) and the seconds in which it begins and ends; what the plan says of the largest one with these is
compared with what it took. Vectors on disk and language model tokens are compared with the plan's arithmetic alone.

Targets: every stage within 15 % of what was foretold, for one process and for two; so are vectors and tokens.

    .venv/bin/python benches/plan.py [--check]    about a quarter of an hour on 2 cores that do nothing else
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import REPOSITORY, THREADS, Report, bench, parser, require_model, say
from benches.parts.inputs import E5, GEMMA
from benches.parts.mix import Mix, write_mix

if TYPE_CHECKING:
    from umr.plan import Sizes

RUNS = ((60, 16), (240, 32), (500, 64))  # passages and queries
TOP_K, DRAWN, BATCH = 4, 2, 16
STAGES = {"mine": "encode", "label": "label", "train": "train"}  # command -> stage of the plan
ENCODER, LM, WIDTH = 21.3e6, 100e6, 384  # weights without embeddings, and numbers of a vector
OFF = 0.15


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    made.add_argument("--processes", nargs="+", type=int, default=[1, 2], help="of a run [default: 1 2]")
    return made


def main(args: argparse.Namespace, report: Report) -> None:
    """Make the runs, and compare."""
    for model in (E5, GEMMA):
        require_model(model)
    with tempfile.TemporaryDirectory(prefix="umr-plan-") as folder:
        mixes = [write_mix(Path(folder) / f"mix-{passages}", queries, 1, passages) for passages, queries in RUNS]
        sizes = [sizes_of(mix) for mix in mixes]
        for processes in args.processes:
            took = [run(mix, Path(folder) / f"work-{processes}-{n}", processes) for n, mix in enumerate(mixes)]
            compare(processes, sizes, took, report)
        arithmetic(Path(folder) / f"work-{args.processes[0]}-{len(RUNS) - 1}", sizes[-1], report)


def sizes_of(mix: Mix) -> Sizes:
    """A run in the numbers that `umr plan` takes; tokens of a text are those of the encoder."""
    import csv

    from umr.models import resolve
    from umr.models.loading import local_folder
    from umr.models.tokenizers import load_tokenizer
    from umr.plan import Sizes
    from umr.progress import Silent

    tokenizer = load_tokenizer(E5, local_folder(resolve(E5, Silent())))
    with mix.passages.open(encoding="utf-8", newline="") as lines:
        passages = [f"{row['title']} {row['text']}" for row in csv.DictReader(lines, delimiter="\t")]
    queries = [json.loads(line)["question"] for line in mix.queries.read_text(encoding="utf-8").splitlines()]
    lengths = [sum(min(512, len(ids)) for ids in tokenizer(texts).input_ids) / len(texts) for texts in (passages, queries)]
    return Sizes(
        len(passages), len(queries), LM, ENCODER, passage_tokens=lengths[0], query_tokens=lengths[1], dimensions=WIDTH, top_k=TOP_K,
        epochs=1, drawn=DRAWN,
    )  # fmt: skip


def run(mix: Mix, work: Path, processes: int) -> dict[str, float]:
    """Seconds of each stage, from the start of its process to the end."""
    many = ["--workers", str(processes)] if processes > 1 else []
    given: dict[str, list[object]] = {
        "mine": ["--passages", mix.passages, "--queries", mix.queries, "--encoder", E5, "--top-k", TOP_K],
        "label": ["--lm", GEMMA, "--precision", "bf16"],
        "train": ["--epochs", 1, "--batch-size", BATCH, "--passages-per-query", DRAWN, "--held-out", 0],
    }
    seconds = {}
    for stage, words in given.items():
        command = [sys.executable, "-m", "umr", stage, work, *words, *many, "--device", "cpu", "--quiet"]
        start = time.perf_counter()
        subprocess.run([str(word) for word in command], check=True, cwd=REPOSITORY, env=environment(processes))
        seconds[stage] = time.perf_counter() - start
        say(f"{processes} processes, {work.name}: {stage} took {seconds[stage]:.1f} s")
    return seconds


def environment(processes: int) -> dict[str, str]:
    """Each of several processes has its share of the threads."""
    threads = str(max(1, int(os.environ["OMP_NUM_THREADS"]) // processes))
    return os.environ | dict.fromkeys(THREADS, threads)


def compare(processes: int, sizes: list[Sizes], took: list[dict[str, float]], report: Report) -> None:
    """A row for each stage: what the plan says of the largest run with the rates of the smaller ones."""
    from umr.plan import Machines

    for command, stage in STAGES.items():
        tokens = [one.stages(Machines(1, "H100"))[stage].tokens for one in sizes]
        seconds = [one[command] for one in took]
        rate = (tokens[1] - tokens[0]) / (seconds[1] - seconds[0])
        begins = seconds[0] - tokens[0] / rate
        machines = Machines(processes, "here", measured=dict.fromkeys(("encode", "label", "train"), rate / processes) | {"search": 1e12})
        said = begins + sizes[-1].stages(machines)[stage].seconds
        off = seconds[-1] / said - 1
        report.row(
            processes=str(processes), stage=command, tokens=f"{tokens[-1]:,.0f}", **{"tokens/s of one": f"{rate / processes:,.0f}"},
            foretold=f"{said:.0f} s", took=f"{seconds[-1]:.0f} s", off=f"{off:+.1%}",
        )  # fmt: skip
        report.target(f"{processes} processes, {command}: off", abs(off), OFF, at_least=False)


def arithmetic(work: Path, sizes: Sizes, report: Report) -> None:
    """Vectors on disk, and different passages among the candidates."""
    import numpy as np

    from umr.data.candidates import read_candidates
    from umr.plan import Machines

    said = sizes.stages(Machines(1, "H100"))["encode"].disk
    found = {
        "vectors and token ids on disk, MB": (said / 1e6, disk(work, "embeddings", "corpus") / 1e6),
        "different passages that are labelled": (
            sizes.labelled_passages,
            float(len(np.unique(read_candidates(work / "round-0" / "candidates.parquet").rows))),
        ),
    }
    for name, (foretold, is_) in found.items():
        off = is_ / foretold - 1
        report.row(processes="", stage=name, tokens="", foretold=f"{foretold:,.1f}", took=f"{is_:,.1f}", off=f"{off:+.1%}")
        report.target(f"{name}: off", abs(off), OFF, at_least=False)


def disk(work: Path, *folders: str) -> int:
    """Bytes of the vectors and of the token ids of passages and queries."""
    patterns = ("*/shard-*.npy", "tokens-*/tokens.u32")
    return sum(path.stat().st_size for folder in folders for pattern in patterns for path in (work / folder).glob(pattern))


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
