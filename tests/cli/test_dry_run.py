"""`umr mine --dry-run` and `umr train --dry-run`: time, disk and memory, and nothing is made but token ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import umr
from train.rig import contents

Shell = Callable[..., Any]


def test_a_forecast_of_mining_begins_nothing(shell: Shell, kit: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    done = shell("mine", work, *kit.inputs, "--top-k", 4, "--dry-run", "--json")
    assert done.code == 0, done.err
    made = done.json["forecast"]
    assert (done.json["round"], made["passages"], made["queries"], made["unencoded"]) == (0, 9, 8, 17)
    assert made["tokens"] > 17
    assert made["encoding"] > 0
    assert made["searching"] > 0
    assert made["memory"] > 1 << 30
    assert not list(work.rglob("*.npy"))
    assert not (work / "round-0").exists()
    shown = " ".join(shell("mine", work, "--top-k", 4, "--dry-run", "--config", nothing(tmp_path)).out.split())
    for words in ("mining round 0", "encoding", "about 1 s", "disk", "memory", "GB", "token ids that were made stay"):
        assert words in shown
    assert shell("mine", work, "--top-k", 4).code == 0
    made = shell("mine", work, "--round", 0, "--top-k", 4, "--dry-run", "--json").json["forecast"]
    assert (made["unencoded"], made["tokens"], made["encoding"]) == (0, 0, 0.0)


def nothing(folder: Path) -> Path:
    """A run file that sets nothing but the index."""
    file = folder / "run.toml"
    file.write_text('[mine]\nindex = "exact"\n')
    return file


def test_the_approximate_index_has_no_forecast(shell: Shell, kit: Any, tmp_path: Path) -> None:
    done = shell("mine", tmp_path / "work", *kit.inputs, "--top-k", 4, "--index", "hnsw", "--dry-run")
    line = next(line for line in done.out.splitlines() if line.startswith("│ searching"))
    assert line.split() == ["│", "searching", "│", "none", "│"]


@pytest.mark.parametrize("options", [(), ("--freeze", "passages")])
def test_a_forecast_of_training_leaves_the_work_as_it_was(shell: Shell, work: Path, options: tuple[str, ...]) -> None:
    before = contents(work)
    done = shell("train", work, "--round", 0, "--epochs", 2, "--batch-size", 4, *options, "--dry-run", "--json")
    assert done.code == 0, done.err
    made = done.json["forecast"]
    assert made["queries"] + made["held_out"] == 8
    assert made["steps"] == 2 * (made["queries"] // 4)
    assert made["validations"] == 1 + 2 * 4
    assert made["seconds"] > 0
    assert made["tokens"] > 0
    assert made["disk"] > 0
    assert contents(work) == before
    shown = " ".join(shell("train", work, "--round", 0, "--epochs", 2, *options, "--dry-run").out.split())
    for words in ("training round 0", "tokens a step", "about 1 s", "MB", "The encoder is as it was"):
        assert words in shown


def test_from_python(work: Path) -> None:
    space = umr.open_workspace(work)
    assert umr.forecast_mining(space, umr.MineConfig(top_k=4), 1).passages == 9
    assert umr.forecast_training(space, umr.TrainConfig(epochs=1, batch_size=4), 0).steps == 1
