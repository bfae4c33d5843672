"""`umr label --dry-run`: what is said before any work, and that nothing is scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
import umr

Shell = Callable[..., Any]


@pytest.fixture
def mined(shell: Shell, kit: Any, tmp_path: Path) -> Path:
    work = tmp_path / "work"
    assert shell("mine", work, *kit.inputs, "--top-k", 4).code == 0
    return work


def files(work: Path) -> set[Path]:
    return set((work / "scores").rglob("*.scores")) | set((work / "round-0").glob("label*"))


def test_everything_is_said_and_nothing_scored(shell: Shell, kit: Any, mined: Path) -> None:
    done = shell("label", mined, "--lm", kit.llama, "--precision", "fp32", "--dry-run", "--json")
    assert done.code == 0, done.err
    (made,) = done.json["forecasts"]
    assert (made["pairs"], made["missing"], made["lm"]) == (32, 32, str(kit.llama))
    assert 1 <= made["passages"] <= 9
    assert made["sharing"] == pytest.approx(32 / made["passages"])
    assert 0 < made["tokens"] < made["whole"]
    assert made["seconds"] > 0
    assert made["flops"] > 0
    assert made["store"] == 32 * 40
    assert done.json["round"] == 0
    assert "each of which serves" in done.talk
    assert not files(mined)

    text = shell("label", mined, "--lm", kit.llama, "--precision", "fp32", "--dry-run").out
    for words in ("queries a passage", "operations", "about 1 s", "some batches", "MB"):
        assert words in " ".join(text.split())
    assert not files(mined)


def test_labelling_goes_on_with_the_plan_that_was_made(shell: Shell, kit: Any, mined: Path) -> None:
    call = ("label", mined, "--lm", kit.llama, "--precision", "fp32")
    shell(*call, "--dry-run")
    assert len(list((mined / "round-0").glob("plan-*"))) == 1
    done = shell(*call)
    assert done.code == 0, done.err
    assert "going on with the plan of an earlier run: 32 pairs" in done.talk
    assert not list((mined / "round-0").glob("plan-*"))


def test_what_is_scored_already_is_not_counted(shell: Shell, kit: Any, mined: Path) -> None:
    call = ("label", mined, "--lm", kit.llama, "--precision", "fp32")
    assert shell(*call, "--screen", 3).code == 0
    made = shell(*call, "--dry-run", "--json").json["forecasts"][0]
    assert (made["pairs"], made["missing"]) == (32, 8)
    assert shell(*call, "--force").code == 0
    done = shell(*call, "--dry-run", "--json")
    made = done.json["forecasts"][0]
    assert (made["pairs"], made["missing"], made["tokens"], made["seconds"], made["sharing"]) == (32, 0, 0, 0, 0)
    assert "none" in shell(*call, "--dry-run").out


def test_each_language_model_has_a_column(shell: Shell, kit: Any, mined: Path, tmp_path: Path) -> None:
    other = tiny.gemma3(tmp_path / "gemma3")
    call = ("label", mined, "--lm", kit.llama, "--also", other, "--precision", "fp32", "--dry-run")
    done = shell(*call, "--json")
    assert done.code == 0, done.err
    assert [(made["lm"], made["pairs"]) for made in done.json["forecasts"]] == [(str(kit.llama), 32), (str(other), 32)]


def test_a_dry_run_needs_a_language_model_and_a_mined_round(shell: Shell, kit: Any, mined: Path, tmp_path: Path) -> None:
    for options in ((), ("--inspect",)):
        done = shell("label", mined, "--dry-run", *options)
        assert done.code == 2
        assert "--lm is missing" in done.talk
    (mined / "round-0" / "mine.json").unlink()
    assert "has not been through `umr mine`" in shell("label", mined, "--lm", kit.llama, "--dry-run").talk


def test_the_same_from_python(kit: Any, mined: Path) -> None:
    (made,) = umr.forecast_labels(umr.open_workspace(mined), umr.LabelConfig(lm=str(kit.llama), precision="fp32"))
    assert (made.missing, made.budget > 0, made.batches) == (32, True, 1)
    assert not files(mined)


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(shell: Shell, kit: Any, mined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from umr.label import scoring

    score, calls = scoring.score_within, [0]

    def stopped(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(scoring, "score_within", stopped)
    (mined / "small.toml").write_text("[label]\nbatch_tokens = 150\n")
    call = ("label", mined, "--lm", kit.llama, "--precision", "fp32", "--config", mined / "small.toml")
    done = shell(*call)
    assert done.code == 130
    assert "run the same command again: it goes on where it stopped" in done.talk
    (segment,) = (mined / "scores").glob("*/*.scores")
    finished = (segment.stat().st_size - 32) // 40
    assert 0 < finished < 32
    assert shell(*call, "--dry-run", "--json").json["forecasts"][0]["missing"] == 32 - finished
    assert shell(*call, "--json").json["pairs"] == 32
