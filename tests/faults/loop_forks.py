"""Runs the loop in forks of one process that has torch loaded, killed or on a full disk: `python loop_forks.py FOLDER JOBS`.

FOLDER holds `bert` (an encoder), `llama` (a language model) and `corpus`. JOBS is a JSON list of {`work`: a folder, `kill`: at which
share of the time of the first job, `limit`: bytes that a file may have, in place of a full disk}; both may be null. Every job is then run
to its end. On stdout: a JSON list of {`first`, `last`: exit codes, a signal as its negative number, 3 for an error of umr; `said`: the
first error}.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.data.workspace import create_workspace
from umr.encoder.load import load_encoder
from umr.errors import StorageError
from umr.label import scoring  # noqa: F401
from umr.label.scorers import causal  # noqa: F401
from umr.mine import per_language, select, sources  # noqa: F401
from umr.search import exact
from umr.train import checkpoint, encoders, loop  # noqa: F401

torch.set_num_threads(1)
FOLDER = Path(sys.argv[1])
ENCODER = EncoderConfig(model=str(FOLDER / "bert"), pooling="mean", similarity="cosine")
MINE = MineConfig(top_k=6, shard_rows=40, batch_tokens=512, threads=1)
LABEL = LabelConfig(lm=str(FOLDER / "llama"), precision="fp32", batch_tokens=400)
TRAIN = TrainConfig(epochs=2, batch_size=8, passages_per_query=3, learning_rate=1e-3, held_out=0.2, evaluations=2)
Job = dict[str, Any]


def run(work: Path) -> None:
    """Mine, label, train."""
    corpus = FOLDER / "corpus"
    opened = create_workspace(work, [str(corpus / "passages.tsv")], [str(corpus / "queries.jsonl")], ENCODER)
    for stage, config in (("mine", MINE), ("label", LABEL), ("train", TRAIN)):
        getattr(import_module(f"umr.{stage}"), stage)(opened, config, 0)


def child(work: Path, limit: int | None, pipe: int) -> None:
    """Run the loop in this process; never returns."""
    exact.CHECKPOINT_SECONDS = loop.CHECKPOINT_SECONDS = 0.0
    code, said = 1, ""
    try:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        run(work)
        code = 0
    except StorageError as error:
        code, said = 3, error.message
    except BaseException:
        said = traceback.format_exc()
    finally:
        os.write(pipe, said.encode()[-4000:])
        os._exit(code)


def done(work: Path, kill_after: float | None = None, limit: int | None = None) -> tuple[int, str]:
    """Run the loop in a fork; how it ended and what it said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        child(work, limit, writing)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def warm() -> None:
    """Import what every fork would import again. Nothing of the compiled core: its threads do not outlive a fork."""
    import pyarrow
    from pyarrow import parquet  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer

    load_encoder(ENCODER)
    AutoTokenizer.from_pretrained(LABEL.lm)
    AutoModelForCausalLM.from_pretrained(LABEL.lm)
    pyarrow.array(np.array(["a"], dtype=object))  # looks for pandas, which takes a second


def main(jobs: list[Job]) -> list[dict[str, Any]]:
    """Do the jobs."""
    warm()
    found, seconds = [], 0.0
    for job in jobs:
        started = time.perf_counter()
        first, said = done(Path(job["work"]), job["kill"] and job["kill"] * seconds, job["limit"])
        seconds = seconds or time.perf_counter() - started
        last, more = (first, said) if not first else done(Path(job["work"]))
        found.append({"first": first, "last": last, "said": said or more})
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[2]))))  # noqa: T201
