"""Ranks and torchrun: what a process takes and leaves, the scripts of docs/cluster.md, and `--workers` with a process killed on the way."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import tiny
from test_docs import blocks_of
from train.rig import contents
from umr.cli import app
from umr.cli.options import without
from umr.config import EncoderConfig, MineConfig
from umr.data.workspace import create_workspace
from umr.errors import MismatchError, StorageError, UsageError
from umr.layout import WorkLayout
from umr.models.group import Group
from umr.work.lock import writing
from umr.work.ranks import Claims, Ranks, alone, ranks_of, working_together

stage: Any = import_module("umr.mine")
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "cluster.md"
BLOCKS = list(blocks_of(DOCUMENT, DOCUMENT.read_text(encoding="utf-8")))
FILES = ["--passages", "corpus/passages.tsv", "--queries", "corpus/queries.jsonl"]
GIVEN = [*FILES, "--encoder", "bert", "--pooling", "mean", "--similarity", "cosine"]
ENCODER = EncoderConfig(model="bert", pooling="mean", similarity="cosine")
RUN_FILE = """
work = "work"
passages = ["corpus/passages.tsv"]
queries = ["corpus/queries.jsonl"]
rounds = 1
[encoder]
model = "bert"
pooling = "mean"
similarity = "cosine"
[mine]
top_k = 6
[label]
lm = "llama"
precision = "fp32"
batch_tokens = 160
[train]
epochs = 8
batch_size = 4
passages_per_query = 3
"""


@pytest.mark.parametrize(
    ("given", "env", "expected"),
    [
        ("3/16", {}, Ranks(3, 16, waits=False)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}, Ranks(3, 8, waits=False)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2"}, Ranks(1, 2, waits=False)),
        ("auto", {"RANK": "1", "WORLD_SIZE": "2"}, Ranks(1, 2, waits=False)),
        (None, {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}, Ranks(1, 2, waits=True)),
        (None, {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "a"}, None),
        (None, {"RANK": "1", "WORLD_SIZE": "2"}, None),
        (None, {}, None),
    ],
)
def test_the_place_of_a_process(given: str | None, env: dict[str, str], expected: Ranks | None) -> None:
    assert ranks_of(given, env) == expected


@pytest.mark.parametrize("given", ["", "3", "16/16", "-1/4", "a/b", "1/", "auto"])
def test_a_place_that_is_none_is_named(given: str) -> None:
    with pytest.raises(UsageError, match="the rank is"):
        ranks_of(given, {})


@given(st.integers(1, 12), st.lists(st.integers(0, 3), max_size=40))
def test_every_unit_is_taken_once_whatever_the_order(units: int, turns: list[int]) -> None:
    names = [f"u{n}" for n in range(units)]
    with tempfile.TemporaryDirectory() as folder:
        ranks = [Claims(Path(folder), Ranks(r, 4, waits=False)).each(names) for r in range(4)]
        taken = [unit for turn in turns for unit, _ in [next(ranks[turn], ("", False))] if unit]
        taken += [unit for rank in ranks for unit, _ in rank]
    assert sorted(taken) == sorted(names)


def test_a_unit_whose_rank_died_is_taken_over_and_known(tmp_path: Path) -> None:
    names = ["a", "b"]
    first = Claims(tmp_path, Ranks(0, 2, waits=False)).each(names)
    assert next(first) == ("a", False)
    other = Claims(tmp_path, Ranks(1, 2, waits=False)).each(names)
    assert list(other) == [("b", False)]  # a is in work
    first.close()  # type: ignore[attr-defined]  # as the system closes the files of a process that dies
    assert list(Claims(tmp_path, Ranks(1, 2, waits=True)).each(names)) == [("a", True)]
    assert list(Claims(tmp_path, Ranks(0, 2, waits=True)).each(names)) == []


def test_a_file_system_without_locks_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(StorageError, match="has no locks") as raised, alone(tmp_path / "lock"):
        pass
    assert "NFS 4" in raised.value.hint


def test_ranks_that_began_otherwise_are_named(tmp_path: Path) -> None:
    layout, said = WorkLayout(tmp_path), tiny.Talk()
    with working_together(layout, Ranks(0, 2, waits=False), {"stage": "mine", "umr": "1", "top_k": 100}, said):
        with working_together(layout, Ranks(1, 2, waits=False), {"stage": "mine", "umr": "1", "top_k": 100}, said):
            pass
        with (
            pytest.raises(MismatchError, match=r"top_k is 100, asked for 50; umr is '1', asked for '2'|umr is '1'.*top_k is 100"),
            working_together(layout, Ranks(1, 2, waits=False), {"stage": "mine", "umr": "2", "top_k": 50}, said),
        ):
            pass
    with working_together(layout, Ranks(1, 2, waits=False), {"stage": "mine", "umr": "2", "top_k": 50}, said):
        pass  # the others are gone


@given(st.lists(st.integers(1, 1000), max_size=30), st.integers(1, 5))
def test_every_chunk_falls_to_one_process(sizes: list[int], processes: int) -> None:
    shares, fewer = zip(*(Group(rank, processes).share(sizes) for rank in range(processes)), strict=True)
    assert {len(share) + lacking for share, lacking in zip(shares, fewer, strict=True)} == {max(map(len, shares))}
    assert sorted(chain.from_iterable(shares)) == list(range(len(sizes)))
    loads = [sum(sizes[n] for n in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@pytest.mark.parametrize("words", [["run", "f", "--workers", "2"], ["run", "--workers=2", "f"]])
def test_the_command_of_the_workers(words: list[str]) -> None:
    assert without(words, "--workers") == ["run", "f"]


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Path]:
    tiny.tiny_corpus(tmp_path / "corpus", 40, 20)
    tiny.encoder(tmp_path / "bert")
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def called(*words: str, **env: str) -> tuple[int, str]:
    """Exit code and output of a command."""
    done = CliRunner().invoke(app, list(words), env=env)
    return done.exit_code, done.output


def test_tasks_of_an_array_mine_what_one_process_mines(corpus: Path) -> None:
    words = ["mine", "work", *GIVEN, "--top-k", "6", "--rank", "auto"]
    layout = WorkLayout(corpus / "work")
    environment = [{"SLURM_ARRAY_TASK_ID": str(n), "SLURM_ARRAY_TASK_COUNT": "3"} for n in range(3)]
    alone = create_workspace("alone", ["corpus/passages.tsv"], ["corpus/queries.jsonl"], ENCODER)
    candidates = stage.mine(alone, MineConfig(top_k=6))
    assert candidates.rows.shape == (20, 6)

    code, said = called(*words, **environment[1])
    assert code == 0, said
    assert layout.round(0).mined.exists(), "the only rank is the last one"
    assert layout.round(0).candidates.read_bytes() == alone.layout.round(0).candidates.read_bytes()
    made = contents(corpus / "work" / "round-0")
    code, said = called(*words, **environment[2])
    assert code == 0, said
    assert contents(corpus / "work" / "round-0") == made


def test_a_rank_leaves_the_end_to_those_that_are_at_work(corpus: Path) -> None:
    given = [*GIVEN, "--top-k"]
    work = create_workspace("work", ["corpus/passages.tsv"], ["corpus/queries.jsonl"], ENCODER)
    place = work.layout.round(0)
    agreed = stage._agreed(work, place, MineConfig(top_k=6))
    with working_together(work.layout, Ranks(1, 2, waits=False), agreed, tiny.Talk()):
        code, said = called("mine", "work", *given, "6", "--rank", "0/2")
        assert code == 0, said
        assert "the last rank to end finishes the round" in said
        assert not place.mined.exists()
        code, said = called("mine", "work", *given, "5", "--rank", "0/2")
        assert code == 1, said
        assert "top_k is 6, asked for 5" in said
    code, said = called("mine", "work", "--top-k", "6")
    assert code == 0, said
    assert place.mined.exists()


def test_a_rank_that_comes_while_another_writes_opens_what_is_there(corpus: Path) -> None:
    begin = partial(create_workspace, "work", ["corpus/passages.tsv"])
    work = begin(["corpus/queries.jsonl"], ENCODER)
    with writing(work.layout, tiny.Talk()):
        assert begin(["corpus/queries.jsonl"], ENCODER).passages.fingerprint == work.passages.fingerprint
        with pytest.raises(MismatchError, match="pooling is 'mean', asked for 'cls'"):
            begin(["corpus/queries.jsonl"], replace(ENCODER, pooling="cls"))
        with pytest.raises(MismatchError, match="queries is"):
            begin(["corpus/passages.tsv"], ENCODER)
        with pytest.raises(MismatchError, match="lang is None"):
            create_workspace("work", ["corpus/passages.tsv"], ["corpus/queries.jsonl"], ENCODER, "de")


def test_what_dead_ranks_left_changes_nothing(corpus: Path) -> None:
    work = create_workspace("work", ["corpus/passages.tsv"], ["corpus/queries.jsonl"], ENCODER)
    with working_together(work.layout, Ranks(0, 2, waits=False), {"stage": "mine"}, tiny.Talk()):
        pass
    assert work.layout.ranks.exists()
    with (corpus / "corpus" / "passages.tsv").open("a") as more:
        more.write("more\tone more passage\ttitle\n")
    again = create_workspace("work", ["corpus/passages.tsv"], ["corpus/queries.jsonl"], ENCODER)
    assert len(again.passages) == len(work.passages) + 1
    assert not work.layout.ranks.exists()


def test_a_bad_run_is_found_before_a_rank_encodes(corpus: Path) -> None:
    (corpus / "bad.trec").write_text("q0 Q0 nobody 1 0.5 x\nbroken\n")
    code, said = called("mine", "work", *GIVEN, "--top-k", "6", "--run", "bad.trec", "--rank", "0/2")
    assert code == 1, said
    assert "bad.trec" in said
    assert not (corpus / "work" / "embeddings").exists()


@pytest.mark.parametrize("words", [["--force"], ["--dry-run"]])
def test_what_one_process_does_by_itself_is_refused(corpus: Path, words: list[str]) -> None:
    create_workspace("work", ["corpus/passages.tsv"], ["corpus/queries.jsonl"], "bert")
    code, said = called("mine", "work", "--rank", "0/2", *words)
    assert code == 2, said
    assert "--force, --force-from and --dry-run are for one process" in said


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(stat.parent.name))
    return found


def test_workers_go_on_when_one_of_them_is_killed(corpus: Path) -> None:
    tiny.llama(corpus / "llama")
    (corpus / "run.toml").write_text(RUN_FILE)
    command = [sys.executable, "-m", "umr", "run", "run.toml", "--workers", "2"]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    mined, killed = corpus / "work" / "round-0" / "mine.json", 0
    while running.poll() is None and not killed:
        time.sleep(0.05)
        if mined.exists():
            killed = max(children_of(running.pid))
            os.kill(killed, signal.SIGKILL)
    said, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert killed
    assert "1 rounds done" in said
    assert said.count("rounds done") == 1, "one process speaks for all"
    assert (corpus / "work" / "round-0" / "encoder" / "model.safetensors").exists()
    assert "going on with" in errors or "is mined already" in errors or "round 0 mined" in errors


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=str)
def test_the_scripts_are_sound(block: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(block.text)
    subprocess.run(["sh", "-n", str(script)], check=True)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([str(shellcheck), "--exclude=SC1091", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_job_is_one_that_kubernetes_takes() -> None:
    (block,) = (b for b in BLOCKS if b.language == "yaml")
    job = yaml.safe_load(block.text)
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    assert job["spec"]["completions"] == int(job["spec"]["template"]["spec"]["containers"][0]["args"][0].rpartition("/")[2].strip('"'))
