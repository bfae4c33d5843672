"""Runs two stages of one round at once, in forks of one process that has torch loaded: `python pair_forks.py LM JOBS`.

JOBS is a JSON list of {`work`: a folder whose round 0 is trained, `stages`: two of mine, label and train}. The stages do their work again
with options of their own: those of the first fork are 0, of the second 1. On stdout: a JSON list of what each job's forks ended with:
an exit code (0 done, 3 refused by an error of umr, 1 anything else) and what was said.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from train.rig import MINE, TRAIN
from umr.config import LabelConfig
from umr.data.workspace import open_workspace
from umr.errors import InputError
from umr.train import loop  # noqa: F401

torch.set_num_threads(1)
TOP_K, TEMPERATURE, SEED = (5, 4), (0.2, 0.3), (1, 2)  # of the first and the second fork


def work(folder: Path, stage: str, which: int) -> None:
    """Do a stage of round 0 again."""
    opened, call = open_workspace(folder), getattr(import_module(f"umr.{stage}"), stage)
    config: Any = {
        "mine": replace(MINE, top_k=TOP_K[which]),
        "label": LabelConfig(lm=LM, precision="fp32", temperature=TEMPERATURE[which]),
        "train": replace(TRAIN, seed=SEED[which]),
    }[stage]
    call(opened, config, 0, force=True)


def start(folder: Path, stage: str, which: int) -> int:
    """Start a fork; its process id."""
    pid = os.fork()
    if pid:
        return pid
    code, said = 1, ""
    try:
        work(folder, stage, which)
        code = 0
    except InputError as error:
        code, said = 3, error.message
    except BaseException:
        said = traceback.format_exc()
    finally:
        Path(f"{folder}.{which}").write_text(said)
        os._exit(code)


def done(job: dict[str, Any]) -> list[tuple[int, int, str]]:
    """Run both stages of a job: process, exit code and what was said, of each."""
    folder = Path(job["work"])
    pids = [start(folder, stage, which) for which, stage in enumerate(job["stages"])]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return [(pid, code, Path(f"{folder}.{which}").read_text()) for which, (pid, code) in enumerate(zip(pids, codes, strict=True))]


if __name__ == "__main__":
    LM = sys.argv[1]
    print(json.dumps([done(job) for job in json.loads(sys.argv[2])]))  # noqa: T201
