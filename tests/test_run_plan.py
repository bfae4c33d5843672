"""`umr plan`: the arithmetic against counts by hand, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from umr.cli import app
from umr.errors import UsageError
from umr.plan import PEAKS, SHARES, Machines, Sizes, machines_of, number_of

SMALL = Sizes(passages=1000, queries=10, lm=2e6, encoder=1e6, passage_tokens=100, query_tokens=10, dimensions=8, top_k=5, epochs=2, drawn=4)


def test_the_counts_are_those_by_hand() -> None:
    stages = SMALL.stages(Machines(4, "x", 3.0, {"encode": 100.0, "search": 50.0, "label": 10.0, "train": 20.0}))
    assert stages["encode"].tokens == 1000 * 100 + 10 * 10
    assert stages["encode"].operations == 2 * 1e6 * 100_100
    assert stages["encode"].disk == 1010 * 8 * 4 + 4 * 100_100
    assert stages["encode"].seconds == pytest.approx(100_100 / 100 / 4)
    assert stages["encode"].money == pytest.approx(100_100 / 100 / 4 / 3600 * 4 * 3.0)
    assert (stages["search"].tokens, stages["search"].operations) == (10_000, 2 * 1000 * 8 * 10)
    assert stages["search"].seconds == pytest.approx(10_000 / 50 / 4), "ranks share it by shards"
    assert stages["label"].tokens == pytest.approx(50 * 10 + SMALL.labelled_passages * 100)
    assert stages["train"].tokens == 2 * 10 * (10 + 4 * 100)
    assert stages["train"].operations == pytest.approx(4 * 2 * 1e6 * stages["train"].tokens)  # twice forward (GradCache), once backward


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 20))
def test_passages_found_by_chance(passages: int, queries: int, k: int) -> None:
    sizes = Sizes(passages, queries, 1.0, 1.0, top_k=k)
    found = sizes.labelled_passages
    assert 0 < found <= min(passages, sizes.pairs) + 1e-9
    if passages > 20:
        draw = np.random.default_rng(0).integers(0, passages, (200, sizes.pairs))
        assert found == pytest.approx(np.mean([len(set(row)) for row in draw.tolist()]), rel=0.1, abs=1.0)


def test_a_gpu_is_as_fast_as_its_share_of_the_peak() -> None:
    stages = SMALL.stages(machines_of("2xh100", 0.0, {}))
    assert stages["label"].seconds == pytest.approx(stages["label"].operations / (SHARES["label"] * PEAKS["H100"][0]) / 2)


@pytest.mark.parametrize(("text", "number"), [("44M", 44e6), ("3.7B", 3.7e9), ("15_250", 15250), ("44,000,000", 44e6), ("2k", 2000)])
def test_numbers_as_people_write_them(text: str, number: float) -> None:
    assert number_of(text, "x") == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "many", "-1", "3.7G", "1e9", "M"])
def test_what_is_no_number_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number"):
        number_of(text, "passages")


def called(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plan", "--passages", "44M", "--questions", "15250", "--lm", "3.7B", *words])
    return done.exit_code, done.output


def test_the_plan_of_the_paper_on_eight_gpus() -> None:
    code, said = called("--gpus", "8xH100", "--rounds", "3", "--price", "2.5")
    assert code == 0, said
    assert "3 rounds on 8xH100: about 2 h" in said
    code, said = called("--gpus", "8xH100", "--json")
    assert json.loads(said)["stages"]["encode"]["tokens"] == 44e6 * 150 + 15250 * 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpus", "8xABACUS"), "how fast 'ABACUS' does encode is not known"),
        (("--gpus", "8 H100 or so"), "expected a number and a kind"),
        (("--gpus", "H100", "--rate", "sleep=3"), "--rate is 'sleep=3'"),
        (("--gpus", "H100", "--rate", "label=fast"), "rate is 'fast'"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str) -> None:
    code, said = called(*words)
    assert code == 2, said
    assert message in said
