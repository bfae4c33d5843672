"""Mines work folders in forks of one process that has torch loaded, and kills them: `python mining_forks.py JOBS`.

JOBS is a JSON list of {`work`: a folder, `kills`: minings to kill before the one that ends, `pause`: seconds before each look at a
shard of embeddings}. The search writes a checkpoint after every segment. On stdout: a JSON list of how the forks of each job ended.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umr.config import EncoderConfig, MineConfig
from umr.data.workspace import open_workspace
from umr.manifest import Growing
from umr.search import exact

torch.set_num_threads(1)
stage = import_module("umr.mine")
Job = dict[str, Any]


def warm(work: Path) -> None:
    """Import what every fork would import again. Nothing of the compiled core: its threads do not outlive a fork."""
    import pyarrow
    from pyarrow import parquet  # noqa: F401

    from umr.encoder.load import load_encoder
    from umr.mine import per_language, select  # noqa: F401

    model = json.loads((work / "work.json").read_text())["encoder"]["model"]
    load_encoder(EncoderConfig(model, pooling="mean", similarity="cosine"))
    pyarrow.array(np.array(["a"], dtype=object))  # looks for pandas, which takes a second


def child(job: Job) -> None:
    """Mine in this process; never returns."""
    exact.CHECKPOINT_SECONDS = 0.0
    has, code = Growing.has, 1

    def slowly(*arguments: Any, **options: Any) -> bool:
        time.sleep(job["pause"])
        return has(*arguments, **options)

    Growing.has = slowly  # type: ignore[method-assign]
    try:
        stage.mine(open_workspace(Path(job["work"])), MineConfig(top_k=6, shard_rows=40, batch_tokens=512, threads=1))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def start(job: Job) -> int:
    """Start a fork; its process id."""
    pid = os.fork()
    if not pid:
        child(job)
    return pid


def done(job: Job, whole: float) -> list[int]:
    """Do a job; exit codes, a signal as its negative number. `whole`: seconds that a mining without a kill takes."""
    draw, ended = random.Random(1), []
    for _ in range(job["kills"]):
        pid = start(job)
        time.sleep(draw.uniform(0.03, 0.35) * whole)
        os.kill(pid, signal.SIGKILL)
        ended.append(os.waitpid(pid, 0)[1])
    ended.append(os.waitpid(start(job), 0)[1])
    return [os.waitstatus_to_exitcode(status) for status in ended]


if __name__ == "__main__":
    jobs = json.loads(sys.argv[1])
    warm(Path(jobs[0]["work"]))

    codes, seconds = [], 0.0
    for job in jobs:
        started = time.perf_counter()
        codes.append(done(job, seconds))
        seconds = seconds or time.perf_counter() - started
    print(json.dumps(codes))  # noqa: T201
