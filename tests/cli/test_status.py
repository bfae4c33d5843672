"""`umr status`: how far each round got, what is gone, and a next command that works; `--verify` reads every kind of kept file again."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umr.data.scores import ScoreStore
from umr.manifest import Growing, read_manifest, write_manifest

Shell = Callable[..., Any]


@pytest.fixture
def centred(shell: Shell, work: Path) -> Path:
    """A second round, mined in a space centred by language and with the approximate index."""
    done = shell("mine", work, "--top-k", 4, "--centre", "language", "--index", "hnsw")
    assert done.code == 0, done.err
    return work


def test_means_languages_and_the_index_are_verified_too(shell: Shell, centred: Path) -> None:
    done = shell("status", centred, "--verify")
    assert done.code == 0, done.err
    kept = [*(centred / "embeddings").rglob("manifest.json"), *(centred / "corpus").glob("languages-*/manifest.json")]
    assert {path.parent.name.split("-")[0] for path in kept} >= {"means", "hnsw", "languages"}
    files = [path for path in centred.rglob("*") if path.is_file() and path.name not in ("lock", "README.md")]
    assert f"{len(files)} files, and the inputs: each is as it was written" in done.talk
    assert "not read" not in done.talk
    (centred / "notes.txt").write_text("of a user")
    assert "not read, because no manifest names them (1): notes.txt" in shell("status", centred, "--verify").talk


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("embeddings/means-*/means.safetensors", "has changed since it was written"),
        ("corpus/languages-*/part-00000.parquet", "has changed since it was written"),
        ("embeddings/*/hnsw/equal.npy", "has changed since it was written"),
        ("embeddings/*/shard-00000.npy", "has changed since it was written"),
        ("round-1/candidates.parquet", "has changed since it was written"),
    ],
)
def test_a_changed_file_is_named(shell: Shell, centred: Path, pattern: str, said: str) -> None:
    path = next(centred.glob(pattern))
    path.write_bytes(path.read_bytes() + b"more")
    done = shell("status", centred, "--verify")
    assert done.code == 1
    assert path.name in done.talk
    assert said in done.talk


def stages_left(shell: Shell, work: Path, kit: Any) -> list[str]:
    """Follow `next` as it is printed until a round is whole; the stages that it named. A model that it suggests unasked is swapped."""
    named = []
    for _ in range(4):
        shown = shell("status", work)
        command = next(line for line in shown.out.splitlines() if line.startswith("next: ")).removeprefix("next: ")
        words = [str(kit.llama) if word == "pypi:gemma-3-270m" else word for word in shlex.split(command)]
        assert words[0] == "umr"
        if words[1] == "mine" and "--round" not in words and named:
            return named
        done = shell(*words[1:])
        assert done.code == 0, (command, done.err)
        named.append(words[1])
    return named


def test_the_next_command_works_as_printed(shell: Shell, kit: Any, tmp_path: Path) -> None:
    """From the first mining to the end of the second round, with the options that each stage was called with before."""
    work = tmp_path / "a folder" / "work"
    assert shell("mine", work, *kit.inputs, "--top-k", 4, "--centre", "global").code == 0
    assert stages_left(shell, work, kit) == ["label", "train"]
    assert stages_left(shell, work, kit) == ["mine", "label", "train"]
    found = shell("status", work, "--json").json
    assert [state["top_k"] for state in found["rounds"]] == [4, 4]
    assert [state["encoder"] for state in found["rounds"]] == [str(kit.bert), "trained in round 0"]
    assert [state["lms"] for state in found["rounds"]] == [[str(kit.llama)]] * 2
    assert "--centre global" in found["command"]


@pytest.mark.parametrize(
    ("path", "stage"),
    [("candidates.parquet", "mine"), ("labels.parquet", "label"), ("encoder", "train"), ("encoder/model.safetensors", "train")],
)
def test_what_is_gone_is_named_and_made_again_by_the_next_command(shell: Shell, kit: Any, work: Path, path: str, stage: str) -> None:
    gone = work / "round-0" / path
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    shown = shell("status", work, "--json")
    assert shown.code == 1
    assert shown.json["next"] == stage
    assert any(path.split("/")[0] in what and "gone" in what for what in shown.json["damaged"])
    assert stage in stages_left(shell, work, kit)
    assert shell("status", work).code == 0


@pytest.mark.parametrize("path", ["candidates.parquet", "labels.parquet", "encoder/model.safetensors", "encoder/tokenizer.json"])
def test_another_size_is_seen_without_reading(shell: Shell, work: Path, path: str) -> None:
    file = work / "round-0" / path
    file.write_bytes(file.read_bytes()[:-1])
    shown = shell("status", work)
    assert shown.code == 1
    assert f"{file} has changed since it was written" in "".join(shown.out.split("\n"))


def test_inputs_that_are_gone_do_not_hide_the_rounds(shell: Shell, kit: Any, work: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(kit.passages.parent, tmp_path / "data"))
    fresh = tmp_path / "fresh"
    shell("mine", fresh, "--passages", moved / "passages.tsv", "--queries", kit.queries, *kit.encoder, "--top-k", 4)
    (moved / "passages.tsv").unlink()
    shown = shell("status", fresh)
    assert shown.code == 1
    assert str(moved / "passages.tsv") in shown.out
    assert "round" in shown.out


def test_an_unfinished_training_shows_its_step(shell: Shell, kit: Any, work: Path) -> None:
    state = work / "round-0" / "training" / "state.json"
    state.parent.mkdir()
    (work / "round-0" / "train.json").unlink()
    write_manifest(state, "training", {"epochs": 3, "batch_size": 4, "seed": 5}, {"steps": 2, "total": 20})
    shown = shell("status", work)
    assert "step 2 of 20" in shown.out
    assert f"next: umr train {work} --epochs 3 --batch-size 4 --seed 5" in shown.out


def test_an_unfinished_encoding_and_labelling_show_how_far_they_got(shell: Shell, kit: Any, work: Path) -> None:
    assert shell("status", work, "--json").json["unfinished"] == []
    assert shell("label", work, "--lm", kit.llama, "--precision", "fp32", "--target", "Query: {query}", "--dry-run", "--force").code == 0
    (pairs,) = [read_manifest(plan, "plan")["pairs"] for plan in work.glob("round-0/plan-*/plan.json")]
    assert f"unfinished: labelling of round 0: 0 of {pairs} pairs are scored" in shell("status", work).out
    store = next(folder for folder in work.glob("scores/*") if not list(folder.glob("*.scores")))
    keys = np.arange(6, dtype=np.uint64).reshape(3, 2)
    with ScoreStore(store, "").appending() as log:
        log.append(keys, keys, np.zeros(3, dtype=np.float32))
    embeddings = Growing(work / "embeddings" / "begun" / "manifest.json", "embeddings", {}, {"rows": 40, "shard_rows": 16})
    for name in ("shard-00000.npy", "piece-16-20.npy"):
        file = embeddings.path.parent / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"vectors")
        embeddings.add(file)
    assert shell("status", work, "--json").json["unfinished"] == [
        f"encoding: 20 of 40 vectors are in {embeddings.path.parent}",
        f"labelling of round 0: 3 of {pairs} pairs are scored",
    ]
