"""Two processes in one work folder: each ends right or is refused by name, and no file stands under another's manifest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import umr
from faults.pair_forks import SEED, TEMPERATURE, TOP_K
from reference import labels as slow
from train.rig import MINE, TRAIN, Notes, contents, encoder_config, opened
from umr.config import LabelConfig
from umr.data.candidates import candidates_of
from umr.data.labels import labels_of
from umr.data.workspace import Workspace, open_workspace
from umr.errors import LockedError
from umr.label import label
from umr.layout import WorkLayout
from umr.manifest import read_manifest
from umr.mine import mine
from umr.train import train
from umr.work.lock import writer_of, writing
from umr.work.state import states

HERE = Path(__file__).resolve()
PAIRS = list(combinations_with_replacement(("mine", "label", "train"), 2))
TIMES = 2
REFUSED = 3
Ended = dict[str, list[tuple[int, int, str]]]  # name of a job -> process, exit code and what was said of both forks


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LabelConfig]:
    """A work folder after one round, and how it was labelled."""
    folder = tmp_path_factory.mktemp("pairs")
    config = LabelConfig(lm=str(tiny.llama(folder / "llama")), precision="fp32")
    work = opened(folder / "work", tiny.tiny_corpus(folder / "data", 13, 10), encoder_config(tiny.encoder(folder / "bert")))
    mine(work, MINE)
    label(work, config)
    train(work, TRAIN)
    return work.layout.folder, config


@pytest.fixture(scope="module")
def weights(base: tuple[Path, LabelConfig], tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Seed -> the weights of a training that ran alone."""
    from dataclasses import replace

    found = {}
    for seed in SEED:
        work = open_workspace(Path(shutil.copytree(base[0], tmp_path_factory.mktemp("alone") / "work")))
        train(work, replace(TRAIN, seed=seed), force=True)
        found[seed] = (work.layout.round(0).encoder / "model.safetensors").read_bytes()
    return found


@pytest.fixture(scope="module")
def ended(base: tuple[Path, LabelConfig], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The folder of the work folders, one a job, and how their forks ended."""
    folder, config = tmp_path_factory.mktemp("jobs"), base[1]
    jobs = [{"work": str(folder / f"{a}-{b}-{n}"), "stages": [a, b]} for a, b in PAIRS for n in range(TIMES)]
    for job in jobs:
        shutil.copytree(base[0], str(job["work"]))
    path = os.pathsep.join([str(Path(umr.__file__).parents[1]), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE.with_name("pair_forks.py")), config.lm, json.dumps(jobs)]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    return folder, {Path(str(job["work"])).name: [tuple(fork) for fork in forks] for job, forks in zip(jobs, found, strict=True)}


@pytest.mark.parametrize("name", [f"{a}-{b}-{n}" for a, b in PAIRS for n in range(TIMES)])
def test_each_ends_right_or_is_refused_by_name(ended: tuple[Path, Ended], weights: dict[int, bytes], name: str) -> None:
    folder, forks = ended[0] / name, ended[1][name]
    assert {code for _, code, _ in forks} <= {0, REFUSED}, forks
    assert any(code == 0 for _, code, _ in forks), forks
    for (_, code, said), (other, *_) in zip(forks, reversed(forks), strict=True):
        if code == REFUSED:
            assert f"being written by process {other} " in said or "has not been through" in said or "otherwise" in said
    assert not [state.damaged for state in states(WorkLayout(folder), "") if state.damaged]
    whole(open_workspace(folder), weights)


def whole(work: Workspace, weights: dict[int, bytes]) -> None:
    """Candidates, labels and weights are those that their manifests describe."""
    place = work.layout.round(0)
    assert candidates_of(place).rows.shape[1] == read_manifest(place.mined, "mine")["made_from"]["top_k"] in (MINE.top_k, *TOP_K)
    if place.labelled.exists():
        labels, made_from = labels_of(place), read_manifest(place.labelled, "label")["made_from"]
        assert made_from["temperature"] in (0.1, *TEMPERATURE)
        np.testing.assert_allclose(labels.labels, slow.labels(labels.scores.tolist(), made_from["temperature"]), atol=1e-4)
        np.testing.assert_array_equal(labels.candidates.rows, candidates_of(place).rows)
    if place.trained.exists():
        seed = read_manifest(place.trained, "train")["made_from"]["seed"]
        same_labels = read_manifest(place.labelled, "label")["made_from"]["temperature"] == 0.1
        if seed in weights and same_labels:
            assert (place.encoder / "model.safetensors").read_bytes() == weights[seed]


@pytest.fixture
def work(base: tuple[Path, LabelConfig], tmp_path: Path) -> Workspace:
    return open_workspace(Path(shutil.copytree(base[0], tmp_path / "work")))


def test_while_one_writes_the_others_are_refused_and_readers_go_on(work: Workspace, base: tuple[Path, LabelConfig]) -> None:
    """A process that was refused leaves everything as it was."""
    writers: dict[str, Any] = {
        "mine": lambda: mine(work, MINE, 1),
        "label": lambda: label(work, base[1], 0, force=True),
        "forecast": lambda: umr.forecast_labels(work, base[1], 0),
        "train": lambda: train(work, TRAIN, 0, force=True),
    }
    with writing(work.layout, Notes()):
        before = contents(work.layout.folder)
        for name, writer in writers.items():
            with pytest.raises(LockedError, match=f"is being written by process {os.getpid()} on .* \\(`") as caught:
                writer()
            assert str(work.layout.folder) in caught.value.message, name
            assert "wait until it ends" in caught.value.hint
        assert contents(work.layout.folder) == before
        assert str(os.getpid()) in writer_of(work.layout)
        reader = open_workspace(work.layout.folder)
        assert len(mine(reader, MINE, 0).rows) == 10
        assert train(reader, TRAIN, 0) == work.layout.round(0).encoder
        assert umr.search(reader, "the old bridge", 2, "en")
    assert writer_of(work.layout) == ""
    mine(work, MINE, 1)


def test_the_lock_of_a_killed_process_is_free_and_what_it_left_goes(work: Workspace) -> None:
    left = [work.layout.round(0).folder / ".plan-0123456789abcdef.7.part", work.layout.folder / ".work.json.7.part"]
    held, ready = os.pipe()
    pid = os.fork()
    if not pid:
        with writing(work.layout, Notes()):
            left[0].mkdir()
            left[1].write_text("half")
            os.write(ready, b".")
            signal.pause()
    os.read(held, 1)
    assert f"process {pid} " in writer_of(work.layout)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert writer_of(work.layout) == ""
    mine(work, MINE, 1)
    assert not [path for path in left if path.exists()]
    for descriptor in (held, ready):
        os.close(descriptor)


@pytest.mark.parametrize("wrote", ["", "4194305\nnowhere"])
def test_a_lock_whose_holder_is_not_named_yet_is_waited_for(work: Workspace, wrote: str) -> None:
    """A process has the lock for a moment before its number is in the file, and after it was taken out."""
    import fcntl
    from threading import Timer

    other = os.open(work.layout.lock, os.O_RDWR | os.O_CREAT)
    os.pwrite(other, wrote.encode(), 0)
    fcntl.flock(other, fcntl.LOCK_EX)
    Timer(0.1, os.close, [other]).start()
    with writing(work.layout, Notes()):
        assert str(os.getpid()) in writer_of(work.layout)


def test_a_lock_that_names_nobody_is_refused_after_a_moment(work: Workspace) -> None:
    import fcntl

    other = os.open(work.layout.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(LockedError, match="is being written by another process"), writing(work.layout, Notes()):
        pass
    os.close(other)


def test_a_file_system_without_locks_is_warned_of(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    notes = Notes()
    monkeypatch.setattr(fcntl, "flock", none)
    mine(work, MINE, 1, notes)
    assert "has no locks" in notes.warned[0]
