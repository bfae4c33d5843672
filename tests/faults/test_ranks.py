"""Ranks that do a stage together: the result of one process to the byte (of a training to its tolerance), whoever is killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import tiny
import umr
from faults.rank_forks import CONFIGS, LINK, OTHERWISE
from faults.test_killed_labelling import records
from train.rig import encoder_config, opened
from umr.data.workspace import open_workspace
from umr.label import label
from umr.mine import mine
from umr.train import train

HERE = Path(__file__).resolve()
FILES = {"mine": "candidates.parquet", "label": "labels.parquet", "train": "encoder/model.safetensors"}
KILLED = int(os.environ.get("UMR_RANK_KILLS", "3"))  # work folders a stage, in each of which two ranks of four are killed
PAIRS, BATCH = 30 * 6, 12  # in all, and at most in a batch
TOLERANCE = 2e-6  # of a weight: gradients are added up in another order
MORE = {"ema": 0.5, "merge": True, "gradient_checkpointing": True, "freeze_layers": 1, "untie": True}
Ends = dict[str, tuple[Path, list[int], int]]  # work folder, exit codes and kills


def folder_for(base: Path, name: str, stages: tuple[str, ...]) -> Path:
    """A copy of the work folder that is done up to some stages."""
    shutil.copytree(base / "-".join(("done", *stages)), base / name)
    return base / name


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work folders done by one process: nothing, mined, labelled, trained."""
    folder = tmp_path_factory.mktemp("ranks")
    lm = str(tiny.llama(folder / "llama"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as every rank has it
    try:
        work = opened(folder / "done", tiny.tiny_corpus(folder / "corpus", 80, 30), encoder_config(tiny.encoder(folder / "bert")))
        done: tuple[str, ...] = ()
        for name, stage in (("mine", mine), ("label", label), ("train", train)):
            config: Any = replace(CONFIGS[name], lm=lm) if name == "label" else CONFIGS[name]
            stage(work, config)
            done = (*done, name)
            shutil.copytree(work.layout.folder, folder / "-".join(("done", *done)))
        centred = open_workspace(Path(shutil.copytree(folder / "done-mine-label", folder / "done-mine-centred")))
        mine(centred, replace(CONFIGS["mine"], centre="global"), 0, force=True)
        label(centred, replace(CONFIGS["label"], lm=lm), 0, force=True)
    finally:
        torch.set_num_threads(threads)
    return folder


@pytest.fixture(scope="module")
def ends(base: Path) -> Ends:
    """Stages done by ranks, and how they ended."""
    before = {"mine": (), "label": ("mine",), "train": ("mine", "label")}
    jobs: list[dict[str, Any]] = []

    def add(name: str, stage: str, ranks: int, **more: Any) -> None:
        labelled = ("mine", "centred") if "centred" in name else before[stage]
        jobs.append({"work": str(folder_for(base, name, labelled)), "stage": stage, "ranks": ranks, "kills": 0, "pause": 0.02} | more)

    for stage in FILES:
        add(f"{stage}-2", stage, 2)
        add(f"{stage}-4", stage, 4)
        add(f"{stage}-differ", stage, 2, differ=True)
    add("train-sharded-2", "train", 2, options={"shard": True})
    add("train-sharded-4", "train", 4, options={"shard": True})
    for name, options in (("more", MORE), ("lora", {"lora_rank": 2}), ("centred", {"freeze": "passages"})):
        add(f"train-{name}-1", "train", 1, options=options)
        add(f"train-{name}-2", "train", 2, options={**options, "shard": True})
    add("train-sharded-killed", "train", 2, kills=3, options={"shard": True})
    for n in range(KILLED):
        add(f"mine-killed-{n}", "mine", 4, kills=2)
        add(f"label-killed-{n}", "label", 4, kills=2)
        add(f"train-killed-{n}", "train", 2, kills=2)
    return forked(base, jobs)


def forked(base: Path, jobs: list[dict[str, Any]]) -> Ends:
    """Do jobs as rank_forks.py does them."""
    paths = [str(Path(umr.__file__).parents[1]), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(HERE.with_name("rank_forks.py")), str(base / "llama"), json.dumps(jobs)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    return {Path(job["work"]).name: (Path(job["work"]), codes, kills) for job, (codes, kills) in zip(jobs, found, strict=True)}


def said(work: Path) -> str:
    """What the ranks of a work folder said."""
    return "".join(path.read_text() for path in sorted(work.parent.glob(f"{work.name}.*")))


def same(work: Path, base: Path, stage: str) -> bool:
    """Whether ranks made the bytes that one process made."""
    return (work / "round-0" / FILES[stage]).read_bytes() == (base / "done" / "round-0" / FILES[stage]).read_bytes()


@pytest.mark.parametrize("stage", ["mine", "label"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_make_the_bytes_of_one_process(ends: Ends, base: Path, stage: str, ranks: int) -> None:
    work, codes, _ = ends[f"{stage}-{ranks}"]
    assert codes == [0] * ranks, said(work)
    assert same(work, base, stage)
    if stage == "label":
        assert records(work) == records(base / "done")


def weights_in(folder: Path) -> dict[str, Any]:
    """All weights of an encoder, of one side or two."""
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*.safetensors"))]
    return {f"{file} {name}": value for file in files for name, value in load_file(folder / file).items()}


def assert_trained_alike(work: Path, other: Path) -> None:
    """Weights and curve of two trainings, within the tolerance of sums in another order."""
    ours, theirs = (weights_in(folder / "round-0" / "encoder") for folder in (work, other))
    assert set(ours) == set(theirs) != set()
    for name, value in theirs.items():
        if name.endswith("attention.self.key.bias"):  # moves no attention: its gradient is rounding alone, which AdamW makes large
            continue
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=TOLERANCE, err_msg=name)
    curves = [(folder / "round-0" / "encoder" / "curve.jsonl").read_text().splitlines() for folder in (work, other)]
    for own, one in zip(*curves, strict=True):
        assert json.loads(own) == pytest.approx(json.loads(one), rel=1e-4)


@pytest.mark.parametrize("ranks", ["2", "4", "sharded-2", "sharded-4"])
def test_a_training_on_several_processes_is_that_of_one(ends: Ends, base: Path, ranks: str) -> None:
    work, codes, _ = ends[f"train-{ranks}"]
    assert set(codes) == {0}, said(work)
    assert_trained_alike(work, base / "done")
    start, trained = load_file(base / "bert" / "model.safetensors"), load_file(base / "done" / "round-0" / FILES["train"])
    assert max(np.abs(value - start[name]).max() for name, value in trained.items() if name in start) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["more", "lora", "centred"])
def test_sharded_weights_take_the_other_options_of_a_training(ends: Ends, name: str) -> None:
    """An average over the steps, mixing with the start, layers computed again, a frozen one, two sides; adapters; means anew."""
    (one, *_), (two, codes, _) = ends[f"train-{name}-1"], ends[f"train-{name}-2"]
    assert codes == [0, 0], said(two)
    assert_trained_alike(two, one)


def test_a_training_of_sharded_weights_that_is_killed_ends_with_the_same_bytes(ends: Ends) -> None:
    (whole, *_), (work, codes, kills) = ends["train-sharded-2"], ends["train-sharded-killed"]
    assert (codes, kills) == ([0, 0], 3), said(work)
    assert (work / "round-0" / FILES["train"]).read_bytes() == (whole / "round-0" / FILES["train"]).read_bytes()


@pytest.mark.parametrize("stage", ["mine", "label"])
def test_killed_ranks_are_replaced_by_those_that_live(ends: Ends, base: Path, stage: str) -> None:
    kills = 0
    for n in range(KILLED):
        work, codes, killed = ends[f"{stage}-killed-{n}"]
        assert sorted(codes) == [-9] * killed + [0] * (4 - killed), said(work)
        assert same(work, base, stage)
        kills += killed
        if stage == "label":  # at most the batch that each was in
            assert sum(path.stat().st_size for path in (work / "scores").glob("*/*.scores")) <= (PAIRS + killed * BATCH) * 40 + 4 * 32
            assert sorted(set(records(work))) == records(base / "done")
    assert kills > KILLED // 2


def test_a_training_of_which_one_process_is_killed_again_and_again_ends_with_the_same_bytes(ends: Ends) -> None:
    whole, kills = ends["train-2"][0], 0
    for n in range(KILLED):
        work, codes, killed = ends[f"train-killed-{n}"]
        assert codes == [0, 0], said(work)
        assert (work / "round-0" / FILES["train"]).read_bytes() == (whole / "round-0" / FILES["train"]).read_bytes()
        kills += killed
    assert kills > KILLED // 2


@pytest.mark.parametrize("stage", list(FILES))
def test_ranks_that_do_not_agree_name_the_difference(ends: Ends, stage: str) -> None:
    work, codes, _ = ends[f"{stage}-differ"]
    assert 3 in codes, said(work)
    assert next(iter(OTHERWISE[stage])) in said(work)
    if stage == "train":
        assert codes == [3, 3]


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[str]]:
    """Two network namespaces with a link between them: to the processes in them, two machines."""
    names = [f"umr-{os.getpid()}-{letter}" for letter in "ab"]
    veths = [f"u{os.getpid() % 10**6}{letter}" for letter in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", veths[0], "type", "veth", "peer", "name", veths[1])
        for number, (name, veth) in enumerate(zip(names, veths, strict=True), start=1):
            ip("link", "set", veth, "netns", name, "name", LINK)
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", LINK)
            for link in ("lo", LINK):
                ip("-n", name, "link", "set", link, "up")
            for queue in (["tbf", "rate", "4mbit", "burst", "32kbit", "latency", "400ms"], ["pfifo"]):  # links that rank_forks slows
                ip("netns", "exec", name, "tc", "qdisc", "replace", "dev", LINK, "root", *queue)
        yield names
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces with links that can be slowed are not to be had here: {error}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def apart(base: Path, hosts: list[str]) -> Ends:
    """The same on two hosts, between which the link is cut."""
    jobs = [
        {"work": str(folder_for(base, name, ("mine", "label"))), "stage": "train", "ranks": 2, "kills": 0, "pause": 0.2, "hosts": hosts}
        | more
        for name, more in (
            ("hosts", {}),
            ("hosts-slow", {"slow": "4mbit"}),
            ("hosts-cut", {"cut": [0.3, 2.0]}),
            ("hosts-lost", {"cut": [0.3, 12.0], "limit": 4}),
        )
    ]
    mined = {"work": str(folder_for(base, "hosts-mine", ())), "stage": "mine", "ranks": 2, "kills": 0, "pause": 0.2}
    return forked(base, [*jobs, mined | {"hosts": hosts, "cut": [0.1, 3.0]}])


def test_a_training_on_two_hosts_is_that_on_one(apart: Ends, ends: Ends) -> None:
    work, codes, _ = apart["hosts"]
    assert codes == [0, 0], said(work)
    assert (work / "round-0" / FILES["train"]).read_bytes() == (ends["train-2"][0] / "round-0" / FILES["train"]).read_bytes()


@pytest.mark.parametrize("name", ["hosts-slow", "hosts-cut"])
def test_a_training_waits_for_slow_links_and_for_a_host_that_is_cut_off_for_a_while(apart: Ends, name: str) -> None:
    work, codes, _ = apart[name]
    assert codes == [0, 0], said(work)
    assert (work / "round-0" / FILES["train"]).read_bytes() == (apart["hosts"][0] / "round-0" / FILES["train"]).read_bytes()


def test_a_training_that_loses_a_host_says_so_and_keeps_its_state(apart: Ends) -> None:
    work, codes, _ = apart["hosts-lost"]
    assert codes == [3, 3], said(work)
    assert "lost another process of this training" in said(work)
    assert list((work / "round-0").glob("*/state.json"))


def test_mining_needs_no_network(apart: Ends, base: Path) -> None:
    work, codes, _ = apart["hosts-mine"]
    assert codes == [0, 0], said(work)
    assert same(work, base, "mine")
