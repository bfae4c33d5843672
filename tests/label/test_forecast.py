"""What is said before the work, and beside the bar during it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from umr.config import LabelConfig
from umr.label import engines, score
from umr.label.budget import Budget
from umr.label.engines import Engine
from umr.label.forecast import Forecast, announce, duration
from umr.label.pack import Tree

stage = import_module("umr.label")  # the module: `umr.label` is the function


class Bars(tiny.Talk):
    """A reporter that remembers its bars and what was noted beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[tuple[str, float, str]] = []
        self.done: list[float] = []
        self.notes: list[str] = []

    @contextmanager
    def bar(self, what: str, total: float, unit: str) -> Iterator[Any]:
        self.bars.append((what, total, unit))
        self.done.append(0)
        yield self

    def advance(self, items: float) -> None:
        self.done[-1] += items

    def note(self, text: str) -> None:
        self.notes.append(text)


class Counting:
    """A scorer whose operations are tokens."""

    unit, bytes_per_token = "packed", 1000

    def score(self, trees: Sequence[Tree]) -> Any:
        return np.array([-1.0 for tree in trees for _ in tree.branches], dtype=np.float32)

    def flops(self, trees: Sequence[Tree]) -> float:
        return float(sum(tree.tokens for tree in trees))


@pytest.fixture
def work(tmp_path: Path) -> Any:
    made = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    tiny.mined(made, k=4)
    return made


@pytest.fixture
def config(lm_folder: Callable[..., Path]) -> LabelConfig:
    return LabelConfig(lm=str(lm_folder("llama")), precision="fp32", pack_tokens=150)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("peak", [1e9, None])
def test_the_forecast_counts_what_is_done(
    work: Any, config: LabelConfig, monkeypatch: pytest.MonkeyPatch, shared: bool, peak: float | None
) -> None:
    monkeypatch.setattr(score, "engine_for", lambda *_: Engine(Counting(), shared, "cpu", peak))  # type: ignore[arg-type]
    (made,) = stage.forecast_labels(work, config)
    talk = Bars()
    labels = stage.label(work, config, reporter=talk)
    what, tokens, unit = talk.bars[-1]
    assert (what, unit) == ("labelling", "tokens")
    assert tokens == talk.done[-1] == made.tokens
    assert made.flops == pytest.approx(made.tokens)
    assert made.seconds == (None if peak is None else pytest.approx(made.tokens / 0.6e9))
    assert made.passages == len(np.unique(labels.candidates.rows))
    assert made.sharing == 32 / made.passages
    assert (made.tokens == made.whole) is not shared
    assert len(talk.notes) == made.batches > 1
    assert talk.notes[-1].startswith("32/32 pairs, ")
    assert ("% of the matrix peak" in talk.notes[-1]) is (peak is not None)


def test_whole_is_every_pair_by_itself(work: Any, config: LabelConfig, lm: Callable[..., Any]) -> None:
    (made,) = stage.forecast_labels(work, config)
    tokenizer, candidates = lm("llama").tokenizer, json.loads(json.dumps(work.queries.texts()))
    rows = stage.candidates_of(work.layout.round(0)).rows
    names = {"ar": "Arabic", "de": "German", "en": "English", "ru": "Russian", "zh": "Chinese"}
    total = 0
    for q, row in enumerate(rows):
        for _, text in work.passages.texts(row):
            source = f"Passage: {text}\n\nQuestion in {names[work.queries.langs[q]]}:"
            total += len(tokenizer(source).input_ids) + len(tokenizer(f" {candidates[q]}", add_special_tokens=False).input_ids)
    assert made.whole == total


@pytest.mark.parametrize("name", ["llama", "mt5"])
def test_padding_is_counted_where_there_is_any(
    work: Any, lm_folder: Callable[..., Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_peak", lambda *_: 1e9)
    talk = tiny.Talk()
    (made,) = stage.forecast_labels(work, LabelConfig(lm=str(lm_folder(name)), precision="fp32"), reporter=talk)
    assert (made.padding > 0) is (name == "mt5")
    assert 0 < made.tokens < made.whole
    assert any(f"{made.padding / (made.tokens + made.padding):.1%} padding" in line for line in talk.said)


def test_it_is_said_in_three_lines() -> None:
    talk = tiny.Talk()
    announce(Forecast("lm", 40, 30, 10, 9000, 1000, 50000, 3, 4096, 2.5e15, 7200, 1_200_000, 2e11), Budget(4096, "as asked for"), talk)
    assert talk.said == [
        "to score: 30 pairs of 10 passages, each of which serves 3.0 queries",
        "9,000 tokens instead of 50,000 pair by pair, in 3 batches of at most 4,096 tokens (as asked for), 10.0% padding",
        "2.5e+15 floating-point operations, about 2 h 0 min at 60% of the 200 GFLOP/s of one matrix product here; 1.2 MB of scores",
    ]
    announce(Forecast("lm", 40, 0), Budget(1, ""), talk)
    announce(Forecast("lm", 40, 30, 10, 9000, 0, 50000, 3, 4096, 2.5e15, None, 1_200_000), Budget(4096, "x"), talk)
    assert len(talk.said) == 6
    assert talk.said[-1] == "2.5e+15 floating-point operations; 1.2 MB of scores"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59, "59 s"), (90, "2 min"), (3540, "59 min"), (3600, "1 h 0 min"), (12000, "3 h 20 min"), (900000, "10 days 10 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
