"""Training beside sentence-transformers: the same encoder, texts, candidates and optimiser, its cached loss beside ours.

multilingual-e5-small on train-small: the queries of a step with 8 passages each, in-batch negatives, all mass on the first
candidate, so that KL is the rival's cross-entropy. Each engine runs in a process of its own; the rival at its best mini-batch.

Equality: the loss of the first step without dropout differs by at most 1e-3 in fp32 (0.05 in bf16). Targets: 1.5 times the steps a second.

    .venv/bin/python benches/train.py [--check]    about 8 minutes on 2 cores
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import DiffersError, Report, UnavailableError, bench, parser, positive, require_model
from benches.parts.given import NO_LABEL, write_labels
from benches.parts.inputs import E5, passages, queries, write_jsonl
from benches.parts.machine import Finished, child
from benches.parts.training import Task

if TYPE_CHECKING:
    from umr import Workspace

OFF = {"fp32": 1e-3, "bf16": 0.05}  # by which the first loss may differ, nats
FACTOR = 1.5
ENGINES = ("umr", "sentence-transformers")


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cell."""
    made = parser(__doc__)
    made.add_argument("--batch", type=positive, default=8, help="queries of a step [default: 8]")
    made.add_argument("--steps", type=positive, default=3, help="timed [default: 3]")
    made.add_argument("--length", type=positive, default=256, help="tokens of a text at most [default: 256]")
    made.add_argument("--precisions", nargs="+", choices=tuple(OFF), default=list(OFF))
    return made


def labelled(folder: Path, args: argparse.Namespace) -> Workspace:
    """A round on a part of train-small whose labels have all mass on the first candidate."""
    import numpy as np

    import umr

    rows = passages("train-small")[:200]
    files = [write_jsonl(folder / "passages.jsonl", [{"id": row["id"], "text": row["text"]} for row in rows])]
    files += [write_jsonl(folder / "queries.jsonl", list(queries("train-small"))[:100])]
    encoder = umr.EncoderConfig(model=E5, title="none", query_length=args.length, passage_length=args.length)
    work = umr.create_workspace(folder / "work", files[0], files[1], encoder)
    shape = umr.mine(work, umr.MineConfig(top_k=8, precision="auto")).rows.shape
    scores = np.full(shape, NO_LABEL, dtype=np.float32)
    scores[:, 0] = 0.0
    write_labels(work, scores, 1.0)
    return work


def main(args: argparse.Namespace, report: Report) -> None:
    """Time both engines in each precision, after their losses were compared."""
    require_model(E5)
    try:
        import sentence_transformers  # noqa: F401
    except ImportError as error:
        raise UnavailableError("the rival sentence-transformers is not installed") from error
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        work = labelled(Path(name), args)
        for precision in args.precisions:
            ended = {engine: run(Path(name), engine, work, precision, args) for engine in ENGINES}
            tell(report, precision, ended)


def run(folder: Path, engine: str, work: Workspace, precision: str, args: argparse.Namespace) -> Finished:
    """One engine in a process of its own."""
    task = Task(engine, str(work.layout.folder), precision, args.batch, 8, 0.05, args.steps, args.threads)
    file = folder / "task.json"
    file.write_text(json.dumps(asdict(task)), encoding="utf-8")
    return child(["-m", "benches.parts.training", str(file)], {"OMP_NUM_THREADS": str(args.threads)})


def tell(report: Report, precision: Any, ended: dict[str, Finished]) -> None:
    """The rows of one precision, and its target."""
    ours, theirs = (ended[engine].value for engine in ENGINES)
    off = abs(ours["loss"] - theirs["loss"])
    if not off <= OFF[precision]:
        raise DiffersError(f"the first loss in {precision} is {ours['loss']:.5f}, the rival's {theirs['loss']:.5f}")
    for engine in ENGINES:
        found = ended[engine]
        report.row(
            precision=precision, engine=engine, **{
                "steps/s": 1 / found.value["seconds"], "x rival": theirs["seconds"] / found.value["seconds"],
                "first loss": f"{found.value['loss']:.5f}", "anonymous MiB": found.anonymous,
            },
        )  # fmt: skip
    report.target(f"{precision}: times sentence-transformers", theirs["seconds"] / ours["seconds"], FACTOR)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
