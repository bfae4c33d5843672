"""Progress without a terminal, and from Python: what a log of a run holds, by public names alone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
import umr

Inputs = dict[str, Any]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    corpus = tiny.tiny_corpus(folder, 30, 8)
    return {"passages": corpus.passages, "queries": corpus.queries, "encoder": tiny.encoder(folder / "e5"), "lm": tiny.llama(folder / "lm")}


def run_file(folder: Path, inputs: Inputs) -> Path:
    """A run of two rounds."""
    path = folder / "run.toml"
    path.write_text(
        f'work = "work"\npassages = ["{inputs["passages"]}"]\nqueries = ["{inputs["queries"]}"]\nrounds = 2\n'
        f'[encoder]\nmodel = "{inputs["encoder"]}"\npooling = "mean"\nsimilarity = "cosine"\n'
        f'[mine]\ntop_k = 4\n[label]\nlm = "{inputs["lm"]}"\nprecision = "fp32"\n'
        "[train]\nepochs = 1\nbatch_size = 4\npassages_per_query = 3\nheld_out = 0.2\n"
    )
    return path


@pytest.fixture(scope="module")
def log(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `umr run` writes to a log."""
    path = run_file(tmp_path_factory.mktemp("run"), inputs)
    command = [sys.executable, "-c", "from umr.cli import main; main()", "run", str(path)]
    paths = os.pathsep.join([str(Path(umr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_run_prints_rounds_and_stages(log: str) -> None:
    headings = [line for line in log.splitlines() if line.startswith("[round ")]
    assert [heading.strip("[]").split(":")[1].strip() for heading in headings] == ["mine", "label", "train"] * 2
    assert len(set(headings)) == 6


@pytest.mark.parametrize(("stage", "then"), [("mined", "umr label"), ("labelled", "umr train"), ("trained", "umr mine")])
def test_a_stage_ends_with_its_time_and_what_comes_next(log: str, stage: str, then: str) -> None:
    lines = [line for line in log.splitlines() if f" {stage}" in line and "next: " in line]
    assert len(lines) == 2
    assert all(f"next: {then} " in line and " s" in line for line in lines)


@pytest.mark.parametrize("unit", ["queries", "pairs", "steps"])
def test_a_stage_says_how_fast_it_was(log: str, unit: str) -> None:
    assert any(f" {unit} in " in line and "/s" in line for line in log.splitlines())


def test_a_log_has_no_bars(log: str) -> None:
    assert "━" not in log
    assert "\x1b" not in log


def mined(folder: Path, inputs: Inputs, reporter: Any) -> Any:
    config = umr.EncoderConfig(model=str(inputs["encoder"]), pooling="mean", similarity="cosine")
    work = umr.create_workspace(folder, [str(inputs["passages"])], [str(inputs["queries"])], config, reporter=reporter)
    umr.mine(work, umr.MineConfig(top_k=4), reporter=reporter)
    return work


def test_the_console_has_a_public_name(inputs: Inputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mined(tmp_path / "one", inputs, umr.Console())
    shown = capsys.readouterr()
    assert "round 0 mined: 8 queries in " in shown.err
    mined(tmp_path / "two", inputs, "console")
    assert "round 0 mined: 8 queries in " in capsys.readouterr().err
    assert shown.out == ""


def test_silence_keeps_its_warnings(inputs: Inputs, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = tmp_path / "passages.tsv"
    empty.write_text(Path(inputs["passages"]).read_text() + "p-empty\t\tnothing\n")
    with caplog.at_level(logging.WARNING):
        config = umr.EncoderConfig(model=str(inputs["encoder"]), pooling="mean", similarity="cosine")
        umr.create_workspace(tmp_path / "work", [str(empty)], [str(inputs["queries"])], config)
    assert any("1 of 31 passages have no text" in record.message for record in caplog.records)
