"""The whole loop killed, and on a full disk: its end is byte for byte that of an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
import umr

KILLS = (0.15, 0.5, 0.85)
LIMITS = (600, 5_000, 40_000)  # bytes: an index, a manifest with its files, weights
RESULTS = ("candidates.parquet", "labels.parquet", "encoder/model.safetensors")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("loop")
    tiny.tiny_corpus(folder / "corpus", 200, 24)
    tiny.encoder(folder / "bert")
    tiny.llama(folder / "llama")
    jobs = [{"work": str(folder / "whole"), "kill": None, "limit": None}]
    jobs += [{"work": str(folder / f"kill-{share}"), "kill": share, "limit": None} for share in KILLS]
    jobs += [{"work": str(folder / f"limit-{limit}"), "kill": None, "limit": limit} for limit in LIMITS]
    path = os.pathsep.join([str(Path(umr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(Path(__file__).with_name("loop_forks.py")), str(folder), json.dumps(jobs)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    return folder, {Path(str(job["work"])).name: end for job, end in zip(jobs, found, strict=True)}


def results(work: Path) -> list[bytes]:
    return [(work / "round-0" / name).read_bytes() for name in RESULTS]


@pytest.mark.parametrize("share", KILLS)
def test_a_kill_changes_no_byte(ended: tuple[Path, dict[str, dict[str, Any]]], share: float) -> None:
    folder, ends = ended
    end = ends[f"kill-{share}"]
    assert end["first"] in (-signal.SIGKILL, 0), end
    assert end["last"] == 0, end
    assert results(folder / f"kill-{share}") == results(folder / "whole")


@pytest.mark.parametrize("limit", LIMITS)
def test_a_full_disk_is_said_and_costs_nothing(ended: tuple[Path, dict[str, dict[str, Any]]], limit: int) -> None:
    folder, ends = ended
    end = ends[f"limit-{limit}"]
    assert end["first"] == 3, end["said"]
    assert f"limit-{limit}" in end["said"] or "/tokenizer.json" in end["said"], "the message names the file, which may be a temporary one"
    assert end["last"] == 0, end
    assert results(folder / f"limit-{limit}") == results(folder / "whole")
