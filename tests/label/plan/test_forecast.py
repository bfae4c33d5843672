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
from umr.label import scoring
from umr.label.plan.forecast import Forecast, announce
from umr.label.scorers.trees import Tree

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

    bytes_per_token = 1000

    def __init__(self, share: bool) -> None:
        self.share, self.tokens = share, 0

    def score(self, trees: Sequence[Tree]) -> Any:
        self.tokens += sum(tree.tokens for tree in trees)
        return np.array([-1.0 for tree in trees for _ in tree.branches], dtype=np.float32)

    def flops(self, trees: Sequence[Tree]) -> float:
        return float(sum(tree.tokens for tree in trees))


@pytest.fixture
def config(lm_folder: Callable[..., Path]) -> LabelConfig:
    return LabelConfig(lm=str(lm_folder("llama")), precision="fp32", batch_tokens=150)


@pytest.mark.parametrize("shared", [True, False])
def test_the_forecast_counts_what_is_done(work: Any, config: LabelConfig, monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    scorer = Counting(shared)
    monkeypatch.setattr(scoring, "load_scorer", lambda *_: scorer)
    (made,) = stage.forecast_labels(work, config)
    assert 0 < scorer.tokens <= 5 * 150, "some batches are timed"
    assert made.seconds is not None
    assert made.seconds > 0
    assert not list(work.layout.scores.glob("*/*.scores")), "its scores are not kept"
    talk = Bars()
    labels = stage.label(work, config, reporter=talk)
    what, tokens, unit = talk.bars[-1]
    assert (what, unit) == ("labelling", "tokens")
    assert tokens == talk.done[-1] == made.tokens
    assert made.flops == pytest.approx(made.tokens)
    assert made.passages == len(np.unique(labels.candidates.rows))
    assert made.sharing == 32 / made.passages
    assert (made.tokens == made.whole) is not shared
    assert len(talk.notes) == made.batches > 1
    assert talk.notes[-1].startswith("32/32 pairs, ")


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
def test_shared_passages_take_fewer_tokens(work: Any, lm_folder: Callable[..., Path], name: str) -> None:
    (made,) = stage.forecast_labels(work, LabelConfig(lm=str(lm_folder(name)), precision="fp32"))
    assert 0 < made.tokens < made.whole


def test_it_is_said_in_three_lines() -> None:
    talk = tiny.Talk()
    announce(Forecast("lm", 40, 30, 10, 9000, 50000, 3, 4096, 2.5e15, 7200, 1_200_000), talk)
    assert talk.said == [
        "to score: 30 pairs of 10 passages, each of which serves 3.0 queries",
        "9,000 tokens instead of 50,000 pair by pair, in 3 batches of at most 4,096 tokens",
        "2.5e+15 floating-point operations, about 2 h 0 min; 1.2 MB of scores",
    ]
    announce(Forecast("lm", 40, 0), talk)
    announce(Forecast("lm", 40, 30, 10, 9000, 50000, 3, 4096, 2.5e15, None, 1_200_000), talk)
    assert len(talk.said) == 6
    assert talk.said[-1] == "2.5e+15 floating-point operations; 1.2 MB of scores"
