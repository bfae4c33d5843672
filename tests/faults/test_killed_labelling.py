"""Labelling killed at random moments (SIGKILL, no clean-up): every finished batch is kept, and the end is that of an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
import umr

HERE = Path(__file__).resolve()
KILLS = 20
PAIRS = 30 * 6
HEADER = 32  # bytes of a segment before its records
Runs = dict[str, tuple[Path, list[int], str]]  # work folder, exit codes, what was said on stderr
RECORD = struct.Struct("<QQQQfI")  # question, passage, score, checksum


def made(folder: Path, corpus: tiny.TinyCorpus) -> Path:
    tiny.mined(tiny.workspace(folder, corpus), k=6)
    return folder


def batches(work: Path) -> list[list[tuple[str, ...]]]:
    """The batches that each labelling began, as the pairs in them."""
    found: dict[int, list[tuple[str, ...]]] = {}
    for line in Path(f"{work}.log").read_text().splitlines():
        number, *pairs = line.split()
        found.setdefault(int(number), []).append(tuple(pairs))
    return [found.get(number, []) for number in range(max(found) + 1)]


def records(work: Path) -> list[tuple[int, ...]]:
    """(question, passage, score as bits) of everything in the score stores, in order of keys; torn ends are left out."""
    found = []
    for segment in (work / "scores").glob("*/*.scores"):
        content = segment.read_bytes()[HEADER:]
        whole = len(content) // RECORD.size * RECORD.size
        found += [values[:5] for values in RECORD.iter_unpack(content[:whole])]
    return sorted(found)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Work folders on one corpus: labelled without a break, killed again and again, two at once into one store; and how each ended."""
    folder = tmp_path_factory.mktemp("labelling")
    corpus = tiny.tiny_corpus(folder / "corpus", passages=40, queries=30)
    names = ("whole", "broken", "double", "second")
    work = {name: str(made(folder / name, corpus)) for name in names}
    store = str(folder / "double" / "scores")
    jobs = [
        {"work": work["whole"], "kills": 0, "together": [work["whole"]], "store": None, "pause": 0},
        {"work": work["broken"], "kills": KILLS, "together": [work["broken"]], "store": None, "pause": 0.02},
        {"work": work["double"], "kills": 0, "together": [work["double"], work["second"]], "store": store, "pause": 0.005},
    ]
    path = os.pathsep.join([str(Path(umr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE.with_name("labelling_forks.py")), str(tiny.llama(folder / "llama")), json.dumps(jobs)]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    ended = json.loads(ran.stdout.splitlines()[-1])
    return {Path(job["work"]).name: (Path(job["work"]), codes, ran.stderr) for job, codes in zip(jobs, ended, strict=True)}


def test_twenty_kills_cost_a_batch_each_and_change_no_byte(runs: Runs) -> None:
    (whole, codes, errors), (broken, ended, _) = runs["whole"], runs["broken"]
    assert codes == [0], errors
    assert ended == [-signal.SIGKILL] * KILLS + [0], errors

    (plan,) = batches(whole)
    assert len(plan) > 2 * KILLS
    done: set[tuple[str, ...]] = set()
    for begun in batches(broken):
        assert len(begun) == len(set(begun))
        assert set(begun) <= set(plan), "another plan than that of an unbroken run"
        assert len(done & set(begun)) <= 1, "more than the batch that was in work is repeated"
        done |= set(begun)
    assert done == set(plan)

    assert len(records(whole)) == PAIRS
    assert sorted(set(records(broken))) == records(whole)
    assert (broken / "round-0" / "labels.parquet").read_bytes() == (whole / "round-0" / "labels.parquet").read_bytes()
    assert json.loads((broken / "round-0" / "label.json").read_text())["pairs"] == PAIRS
    assert not list((broken / "round-0").glob("plan-*"))


def test_two_labellings_into_one_store_write_segments_of_their_own(runs: Runs) -> None:
    (whole, *_), (double, ended, errors) = runs["whole"], runs["double"]
    assert ended == [0, 0], errors
    assert len(list((double / "scores").glob("*/*.scores"))) in (1, 2)  # two unless the first was done before the second began
    assert json.loads((double / "round-0" / "label.json").read_text())["pairs"] == PAIRS
    assert set(records(double)) == set(records(whole))
    assert (double / "round-0" / "labels.parquet").read_bytes() == (whole / "round-0" / "labels.parquet").read_bytes()
