"""Labelling killed in the middle (SIGKILL, no clean-up): the next run keeps every finished pair and ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import tiny

HERE = Path(__file__).resolve()

# The stage with a stand-in for the language model (and without torch): one pair a forward pass, slowly, each told on stdout.
STAGE = """
import sys, time, types, zlib
from pathlib import Path
import numpy as np

models = types.ModuleType("umr.models.lm")
models.find_lm = lambda name, reporter: types.SimpleNamespace(encoder_decoder=False, fingerprint="f", name=name, folder=name)
sys.modules["umr.models.lm"] = models
sys.modules["umr.models.device"] = types.SimpleNamespace(pick_device=str, keep_precision=lambda plan, precision, *_: precision)
from importlib import import_module
stage = import_module("umr.label")
from umr.config import LabelConfig
from umr.data.workspace import open_workspace

class Slow:
    def score(self, groups):
        for group in groups:
            for q in group.questions:
                print(f"{group.title}|{group.text}|{q.text}|{q.lang}", flush=True)
                time.sleep(float(sys.argv[2]))
                value = zlib.crc32((group.title + group.text + q.text).encode()) % 997 / 300
                yield [q.pair], np.array([-value], dtype=np.float32)

stage._scorer = lambda *_: Slow()
stage.label(open_workspace(Path(sys.argv[1])), LabelConfig(lm="lm", precision="fp32"))
assert "torch" not in sys.modules, "this test should start fast"
"""


def run(work: Path, pause: float) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(HERE.parents[2] / "python"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, str(work), str(pause)], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    )


def finished_run(work: Path) -> str:
    with run(work, 0) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return output


def made(folder: Path, corpus: tiny.TinyCorpus) -> Path:
    tiny.mined(tiny.workspace(folder, corpus), k=4)
    return folder


def test_a_killed_labelling_goes_on_where_it_stopped(tmp_path: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus")
    broken, whole = made(tmp_path / "broken", corpus), made(tmp_path / "whole", corpus)
    with run(broken, 0.05) as first:
        assert first.stdout is not None
        begun = [first.stdout.readline() for _ in range(10)]  # the tenth is being scored: nine are on the device
        first.send_signal(signal.SIGKILL)
        rest = first.stdout.read().splitlines(keepends=True)
        assert first.wait() == -signal.SIGKILL
    assert not (broken / "round-0" / "label.json").exists()
    assert not (broken / "round-0" / "labels.parquet").exists()

    scored = finished_run(broken).splitlines(keepends=True)
    assert len(set(scored)) == len(scored)
    finished = set(begun) | set(rest)
    assert len(finished & set(scored)) <= 1  # the pair that was in the model's hands
    assert len(finished | set(scored)) == 32

    finished_run(whole)
    assert (broken / "round-0" / "labels.parquet").read_bytes() == (whole / "round-0" / "labels.parquet").read_bytes()
    assert json.loads((broken / "round-0" / "label.json").read_text())["pairs"] == 32


def test_two_labellings_at_once_write_segments_of_their_own(tmp_path: Path) -> None:
    corpus = tiny.tiny_corpus(tmp_path / "corpus")
    work = made(tmp_path / "work", corpus)
    with run(work, 0.03) as one, run(work, 0.03) as two:
        for process in (one, two):
            process.communicate(timeout=120)
    assert (one.returncode, two.returncode) == (0, 0)
    segments = list((work / "scores").glob("*/*.scores"))
    assert len(segments) in (1, 2)  # two unless the first was done before the second began
    assert json.loads((work / "round-0" / "label.json").read_text())["pairs"] == 32
