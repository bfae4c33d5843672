"""Every command's good path: what stands on stdout, as text and as one JSON object."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Shell = Callable[..., Any]


def test_a_round_in_three_commands_and_the_next_mining(shell: Shell, kit: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    mined = shell("mine", work, *kit.inputs, "--top-k", 4, "--json")
    assert (mined.code, mined.json) == (
        0,
        {"round": 0, "queries": 8, "top_k": 4, "candidates": str(work / "round-0" / "candidates.parquet")},
    )
    labelled = shell("label", work, "--lm", kit.llama, "--precision", "fp32", "--json")
    assert labelled.code == 0, labelled.err
    assert (labelled.json["round"], labelled.json["pairs"]) == (0, 32)
    assert labelled.json["mean_score"] < 0
    trained = shell("train", work, "--epochs", 1, "--batch-size", 4, "--passages-per-query", 2, "--json")
    assert trained.code == 0, trained.err
    assert (trained.json["round"], trained.json["encoder"], trained.json["steps"]) == (0, str(work / "round-0" / "encoder"), 1)
    again = shell("mine", work, "--top-k", 4, "--json")
    assert again.json["round"] == 1
    assert "read from umr_encoder.json" in again.talk
    status = shell("status", work, "--json")
    assert [(r["round"], r["stage"]) for r in status.json["rounds"]] == [(0, "train"), (1, "mine")]
    assert (status.json["next"], status.json["passages"], status.json["queries"]) == ("label", 9, 8)


def test_a_stage_run_again_does_nothing(shell: Shell, kit: Any, work: Path) -> None:
    stamps = {p: p.stat().st_mtime_ns for p in work.rglob("*") if p.is_file() and p.name != "work.json"}
    manifest = (work / "work.json").read_bytes()
    for call in (
        ("mine", work, *kit.inputs, "--top-k", 4, "--round", 0),
        ("label", work, "--lm", kit.llama, "--precision", "fp32"),
        ("train", work, *TRAIN),
    ):
        done = shell(*call)
        assert done.code == 0, done.err
        assert "already" in done.talk
    assert {p: p.stat().st_mtime_ns for p in work.rglob("*") if p.is_file() and p.name != "work.json"} == stamps
    assert (work / "work.json").read_bytes() == manifest


TRAIN = ("--epochs", 1, "--batch-size", 4, "--passages-per-query", 2, "--held-out", 0.2)


def test_text_for_people_on_stdout_talk_on_stderr(shell: Shell, work: Path) -> None:
    done = shell("status", work)
    assert done.code == 0
    assert f"next: umr mine {work} --top-k 4" in done.out
    assert "9 passages, 8 queries in 5 languages" in done.talk
    assert shell("status", work, "--quiet").err == ""


def test_search_shows_passages(shell: Shell, work: Path) -> None:
    shown = shell("search", work, "the old bridge", "--lang", "en", "-k", 2)
    assert shown.code == 0, shown.err
    assert shown.out.startswith("1. ")
    assert "\n2. " in shown.out
    found = shell("search", work, "the old bridge", "--lang", "en", "--top-k", 2, "--round", "first", "--json")
    hits = found.json["hits"]
    assert [h["rank"] for h in hits] == [1, 2]
    assert hits[0]["score"] >= hits[1]["score"]
    assert hits[0]["passage_id"].startswith("p")


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "qrels.txt"
    path.write_text("".join(f"q{i} 0 p{i} 1\n" for i in range(8)))
    return path


def test_eval_compares_the_first_and_the_newest_encoder(shell: Shell, work: Path, qrels: Path) -> None:
    found = shell("eval", work, "--qrels", qrels, "--metrics", "R@1,MRR", "--json")
    assert found.code == 0, found.err
    names = ["the first encoder", "the encoder trained in round 0"]
    assert list(found.json["systems"]) == names
    assert [[c["before"], c["after"], c["metric"]] for c in found.json["comparisons"]] == [[*names, "R@1"], [*names, "MRR"]]
    assert set(found.json["systems"][names[0]]["per_language"]) == {"en", "de", "ru", "ar", "zh"}
    shown = shell("eval", work, "--qrels", qrels)
    assert "the first encoder -> the encoder trained in round 0" in " ".join(shown.out.split())
    one = shell("eval", work, "--qrels", qrels, "--round", "first", "--json")
    assert one.json["name"] == names[0]
    assert "expected a number" in shell("eval", work, "--qrels", qrels, "--round", "last").talk
    assert one.json["macro"]["MRR"] == found.json["systems"][names[0]]["macro"]["MRR"]


def test_run_takes_a_toml_file(shell: Shell, kit: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        f"""
work = "work"
passages = ["{kit.passages}"]
queries = ["{kit.queries}"]
[encoder]
model = "{kit.bert}"
pooling = "cls"
similarity = "dot"
[mine]
top_k = 3
[label]
lm = "{kit.llama}"
precision = "fp32"
[train]
epochs = 1
batch_size = 4
"""
    )
    for _ in range(2):
        done = shell("run", file, "--json")
        assert done.code == 0, done.err
        assert done.json == {"rounds": 1, "encoder": str(tmp_path / "work" / "round-0" / "encoder")}
    assert "trained already" in done.talk


SIGNALLED = """
import os, signal, sys
from umr.train.distillation import Objective
number = int(sys.argv.pop())
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would inherit an ignored one,
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup runs this one
real = Objective.backward
def watched(objective, inputs):
    if inputs.step == 1:
        os.kill(os.getpid(), number)
    return real(objective, inputs)
Objective.backward = watched
from umr.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_the_state_and_is_the_exit_code(shell: Shell, work: Path, number: signal.Signals) -> None:
    options = ["--epochs", "3", "--batch-size", "4", "--passages-per-query", "2", "--seed", "4", "--force"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-c", SIGNALLED, "train", str(work), *options, str(int(number))]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number, done.stderr
    assert "it goes on where it stopped" in done.stderr
    assert "Traceback" not in done.stderr
    again = shell("train", work, *options)
    assert again.code == 0, again.err
    assert "going on from step 2" in again.talk


def test_training_says_the_loss_of_the_weights_that_it_kept(shell: Shell, kit: Any, work: Path) -> None:
    """A rate at which the loss rises at once: the lowest is that before training, which nobody keeps."""
    done = shell("train", work, "--epochs", 2, "--batch-size", 4, "--held-out", 0.2, "--learning-rate", 0.05, "--force", "--json")
    assert done.code == 0, done.err
    losses = {step: loss for step, loss, _ in done.json["validation"]}
    made = json.loads((work / "round-0" / "train.json").read_text())
    assert made["kept_step"] > 0
    shown = shell("train", work, "--epochs", 2, "--batch-size", 4, "--held-out", 0.2, "--learning-rate", 0.05)
    assert f"validation loss {losses[0]:.4f} -> {losses[made['kept_step']]:.4f}" in shown.out


def test_a_hub_is_asked_before_the_training_and_told_after_it(shell: Shell, kit: Any, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def create(name: str, *, private: bool, exist_ok: bool) -> None:
        assert private
        assert exist_ok
        asked.append(name)
        if name == "not/mine":
            raise OSError("403 Forbidden")

    def upload(*, folder_path: Path, **_: Any) -> str:
        assert (folder_path / "README.md").exists()
        return "https://hub/me/mine"

    monkeypatch.setattr("huggingface_hub.HfApi", lambda: SimpleNamespace(create_repo=create, upload_folder=upload))
    shutil.rmtree(work / "round-0" / "encoder", ignore_errors=True)
    (work / "round-0" / "train.json").unlink(missing_ok=True)
    options = ("--epochs", 1, "--batch-size", 4, "--held-out", 0.2, "--push-to-hub")
    refused = shell("train", work, *options, "not/mine")
    assert refused.code == 1
    assert "no repository not/mine on the hub: 403 Forbidden" in refused.talk
    assert not (work / "round-0" / "train.json").exists(), "nothing was trained in vain"
    done = shell("train", work, *options, "me/mine")
    assert done.code == 0, done.err
    assert "on the hub: https://hub/me/mine" in done.talk
    assert asked == ["not/mine", "me/mine"]


def test_run_says_how_to_do_a_stage_again_and_does_it(shell: Shell, kit: Any, work: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    tables = {
        "encoder": f'model = "{kit.bert}"\npooling = "mean"\nsimilarity = "cosine"',
        "mine": "top_k = 4",
        "label": f'lm = "{kit.llama}"\nprecision = "fp32"\ntemperature = 0.5',
        "train": "epochs = 1\nbatch_size = 4\npassages_per_query = 2\nheld_out = 0.2",
    }
    head = f'work = "{work}"\npassages = ["{kit.passages}"]\nqueries = ["{kit.queries}"]\n'
    file.write_text(head + "".join(f"[{name}]\n{text}\n" for name, text in tables.items()))
    refused = shell("run", file)
    assert refused.code == 1
    assert "umr run FILE --force-from 0 label" in refused.talk
    done = shell("run", file, "--force-from", 0, "label")
    assert done.code == 0, done.err
    assert "mined already" in done.talk
    assert len(list(work.rglob("train.json"))) == 2
    assert "there is no stage 'search'" in shell("run", file, "--force-from", 0, "search").talk


def test_models_and_version(shell: Shell) -> None:
    listed = shell("models", "--json")
    assert "pypi:multilingual-e5-small" in [m["name"] for m in listed.json["models"]]
    assert "pypi:gemma-3-270m" in shell("models").out
    version = shell("--version")
    assert version.code == 0
    assert version.out.strip()


def test_talk_stays_off_stdout_in_a_real_process(work: Path) -> None:
    """The same through pipes, as a script would call it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-c", "from umr.cli import main; main()", "status", str(work), "--json"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("{")
    assert done.stdout.count("\n") == 1
    assert "9 passages" in done.stderr
