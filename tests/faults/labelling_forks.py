"""Labels work folders in forks of one process that has torch loaded, and kills them: `python labelling_forks.py LM JOBS`.

JOBS is a JSON list of {`work`: a folder, `kills`: labellings to kill one after the other, `together`: folders that are then labelled at
once, `store`: of the scores, `pause`: seconds before each batch}. Every batch that a fork begins is a line of WORK.log: the number of
the fork, then the pairs. On stdout: a JSON list of how the forks of each job ended.
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

import torch

from umr.config import LabelConfig
from umr.data import labels, table  # noqa: F401
from umr.data.workspace import open_workspace
from umr.label import scoring
from umr.label.scorers import causal, seq2seq  # noqa: F401

torch.set_num_threads(1)
stage = import_module("umr.label")
Job = dict[str, Any]
TOKENS = 160  # of a batch


def warm(lm: str) -> None:
    """Load and measure what every fork would load and measure again. Nothing of the compiled core: its threads do not outlive a fork."""
    from pyarrow import parquet  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(lm)
    AutoModelForCausalLM.from_pretrained(lm)


def child(job: Job, number: int, work: str) -> None:
    """Label in this process; never returns."""
    log = os.open(f"{job['work']}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    score_within = scoring.score_within

    def logged(scorer: Any, trees: Any, *rest: Any) -> Any:
        pairs = [branch.pair for tree in trees for branch in tree.branches]
        os.write(log, f"{number} {' '.join(map(str, pairs))}\n".encode())
        time.sleep(job["pause"])
        return score_within(scorer, trees, *rest)

    scoring.score_within = logged
    code = 1
    try:
        stage.label(open_workspace(Path(work)), LabelConfig(lm=LM, precision="fp32", batch_tokens=TOKENS, store=job["store"]))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def begun(job: Job, number: int) -> int:
    """How many batches a fork has begun."""
    log = Path(f"{job['work']}.log")
    return sum(line.startswith(f"{number} ") for line in log.read_text().splitlines()) if log.exists() else 0


def start(job: Job, number: int, work: str) -> int:
    """Start a fork; its process id."""
    pid = os.fork()
    if not pid:
        child(job, number, work)
    return pid


def killed(job: Job, number: int, draw: random.Random) -> int:
    """Kill a fork at a random moment: some before their first batch, most within or right after one."""
    pid, batches = start(job, number, job["work"]), draw.choice([0, 1, 1, 2, 2, 3])
    if not batches:
        time.sleep(draw.uniform(0, 0.3))
    while batches and begun(job, number) < batches and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 2 * job["pause"]))
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def done(job: Job) -> list[int]:
    """Do a job; exit codes, a signal as its negative number."""
    draw = random.Random(0)
    ended = [killed(job, number, draw) for number in range(job["kills"])]
    last = [start(job, job["kills"] + number, work) for number, work in enumerate(job["together"])]
    ended += [os.waitpid(pid, 0)[1] for pid in last]
    return [os.waitstatus_to_exitcode(status) for status in ended]


if __name__ == "__main__":
    LM = sys.argv[1]
    warm(LM)
    print(json.dumps([done(job) for job in json.loads(sys.argv[2])]))  # noqa: T201
