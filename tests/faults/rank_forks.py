"""Does stages on several ranks, in forks of one process that has torch loaded, and kills some: `python rank_forks.py LM JOBS`.

JOBS is a JSON list of {`work`: a folder, `stage`: mine, label or train, `ranks`: how many, `kills`: ranks to kill at random moments,
`pause`: seconds before each piece of work, `options`: of the stage, beside those of all jobs, `differ`: whether the last rank has other
options, `hosts`: network namespaces that the ranks run in, the first at ADDRESS, `limit`: seconds that processes wait for each other,
`cut`: seconds after which the first host's link is taken down, and for how long, `slow`: bits a second of the links}. As a launcher
does it, all processes of a training begin again where one of them died; of mining and labelling nobody does, and one survives. On
stdout: a JSON list of the exit codes of the last processes of each job (a signal as its negative number) and how many were killed.
What a rank says goes to WORK.RANK.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.rig import MINE, TRAIN
from umr import together
from umr.config import EncoderConfig, LabelConfig
from umr.data import embeddings, labels, table  # noqa: F401
from umr.data.workspace import open_workspace
from umr.errors import UmrError
from umr.label import scoring
from umr.label.scorers import causal, seq2seq  # noqa: F401
from umr.mine import select, sources  # noqa: F401
from umr.models import group
from umr.progress import reporter_of
from umr.train import loop
from umr.work.ranks import Ranks

search = import_module("umr.search")
NETWORK, LINK, ADDRESS = 0x40000000, "umr0", "10.77.0.1"  # CLONE_NEWNET; each host's only interface, and where the first is reached
torch.set_num_threads(1)
Job = dict[str, Any]
CONFIGS: dict[str, Any] = {
    "mine": replace(MINE, shard_rows=8),
    "label": LabelConfig(lm="LM", precision="fp32", batch_tokens=160),
    "train": replace(TRAIN, chunk_tokens=128),
}
OTHERWISE: dict[str, dict[str, Any]] = {"mine": {"top_k": 5}, "label": {"temperature": 0.2}, "train": {"learning_rate": 2e-3}}


def slowed(module: Any, name: str, pause: float) -> None:
    """Wait before each call of a function."""
    function = getattr(module, name)

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(pause)
        return function(*arguments, **options)

    setattr(module, name, slowly)


def stage(job: Job, ranks: Ranks) -> None:
    """Do a stage as one of the ranks."""
    name, work = job["stage"], open_workspace(Path(job["work"]))
    config = replace(CONFIGS[name], lm=LM) if name == "label" else CONFIGS[name]
    config = replace(config, **job.get("options", {}))
    if job.get("differ") and ranks.rank == ranks.size - 1:
        config = replace(config, **OTHERWISE[name])
    getattr(together, f"{name}_together")(work, config, 0, reporter_of("console"), ranks=ranks)


def enter(host: str) -> None:
    """Go into a network namespace, which `ip netns` made."""
    with Path("/run/netns", host).open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), NETWORK):
            raise OSError(ctypes.get_errno(), "setns")


def cut(job: Job) -> None:
    """Take the link of the first host down for a while, once a training has a state."""
    until, (after, length) = time.monotonic() + 120, job["cut"]
    while job["stage"] == "train" and not list(Path(job["work"]).glob("round-0/*/state.json")) and time.monotonic() < until:
        time.sleep(0.05)
    for seconds, state in ((after, "down"), (length, "up")):
        time.sleep(seconds)
        subprocess.run(["ip", "-n", job["hosts"][0], "link", "set", LINK, state], check=True)


def child(job: Job, rank: int) -> None:
    """Be a rank; never returns."""
    if job.get("hosts"):
        enter(job["hosts"][rank])
        os.environ |= {"MASTER_ADDR": ADDRESS, "GLOO_SOCKET_IFNAME": LINK}
    said = os.open(f"{job['work']}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    torch.set_num_threads(1)  # a fork has to make its pool of threads anew
    code, loop.CHECKPOINT_SECONDS, group.LIMIT = 1, 0.0, timedelta(seconds=job.get("limit", 600))
    for module, name in ((scoring, "score_within"), (embeddings, "_save"), (search, "top_k"), (loop, "batch_at")):
        slowed(module, name, job["pause"])
    try:
        stage(job, Ranks(rank, job["ranks"], waits=True))
        code = 0
    except UmrError as error:
        os.write(said, error.message.encode())
        code = 3
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def start(job: Job, rank: int) -> int:
    """Start a fork; its process id."""
    pid = os.fork()
    if not pid:
        child(job, rank)
    return pid


def attempt(job: Job, draw: random.Random, kills: int, seconds: float) -> tuple[list[int], int]:
    """Start all ranks, kill some, and wait; exit codes, and how many were killed while they worked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    for host in job.get("hosts", []):
        queue = ["tbf", "rate", job["slow"], "burst", "32kbit", "latency", "400ms"] if job.get("slow") else ["pfifo"]
        subprocess.run(["ip", "netns", "exec", host, "tc", "qdisc", "replace", "dev", LINK, "root", *queue], check=True)
    running = [start(job, rank) for rank in range(job["ranks"])]
    if job.get("cut"):
        cut(job)
    hit, began = set[int](), time.monotonic()
    for after in sorted(draw.uniform(0.02, 0.8) * seconds for _ in range(kills)):
        time.sleep(max(0.0, began + after - time.monotonic()))
        victim = draw.choice([pid for pid in running if pid not in hit])
        if os.waitid(os.P_PID, victim, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            os.kill(victim, signal.SIGKILL)
            hit.add(victim)
    if hit and job["stage"] == "train":  # as torchrun does it: the others would wait for the one that is gone
        for pid in set(running) - hit:
            os.kill(pid, signal.SIGKILL)
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in running], len(hit)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in running]
    return codes, codes.count(-signal.SIGKILL)  # a rank that was ending when the signal came has ended


def done(job: Job, number: int, seconds: float) -> tuple[list[int], int, float]:
    """Do a job, `seconds` of which are known for one without a kill: exit codes of the last attempt, kills, and its seconds."""
    draw, left, killed, training = random.Random(number), job["kills"], 0, job["stage"] == "train"
    while True:
        began, now = time.monotonic(), min(left, 1) if training else left
        codes, hits = attempt(job, draw, now, seconds)
        killed, left = killed + hits, left - now
        if not (training and hits):
            return codes, killed, time.monotonic() - began


def warm(lm: str, encoder: dict[str, Any]) -> None:
    """Import what every fork would import again. Nothing of the compiled core: its threads do not outlive a fork."""
    import pyarrow
    from pyarrow import parquet  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from umr.encoder import export  # noqa: F401
    from umr.encoder.load import load_encoder
    from umr.train import card, curve, encoders, loop  # noqa: F401

    AutoTokenizer.from_pretrained(lm)
    AutoModelForCausalLM.from_pretrained(lm)
    load_encoder(EncoderConfig(encoder["model"], pooling="mean", similarity="cosine"))
    pyarrow.array(np.array(["a"], dtype=object))  # looks for pandas, which takes a second


if __name__ == "__main__":
    LM, jobs = sys.argv[1], json.loads(sys.argv[2])
    warm(LM, json.loads((Path(jobs[0]["work"]) / "work.json").read_text())["encoder"])
    found, seconds = [], dict[str, float]()
    for number, job in enumerate(jobs):
        codes, killed, took = done(job, number, seconds.get(job["stage"], 1.0))
        seconds.setdefault(job["stage"], took)
        found.append((codes, killed))
    print(json.dumps(found))  # noqa: T201
