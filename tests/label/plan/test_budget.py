"""Tokens of a batch: from the options, from what is free, and half of them each time that memory runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from umr import sizes
from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label.plan import budget as budgets
from umr.label.plan.budget import budget_for, score_within
from umr.label.scorers.trees import Branch, Tree
from umr.models.device import out_of_memory
from umr.progress import Silent
from umr.sizes import free_memory


@dataclass
class Small:
    """A scorer with room for so many tokens; a score is the pair's number."""

    room: int
    error: type[Exception] = MemoryError
    words: str = ""
    sizes: list[int] = field(default_factory=list)
    bytes_per_token: int = 1000
    share: bool = True

    def score(self, trees: Sequence[Tree]) -> Any:
        size = sum(tree.tokens for tree in trees)
        self.sizes.append(size)
        if size > self.room:
            raise self.error(self.words)
        return np.array([branch.pair for tree in trees for branch in tree.branches], dtype=np.float32)

    def flops(self, trees: Sequence[Tree]) -> float:
        return 0.0


def forest(shapes: Sequence[Sequence[int]]) -> list[Tree]:
    """A tree of a trunk of 5 and a branch for each length."""
    made, pair = [], 0
    for lengths in shapes:
        made.append(Tree([1] * 5, [Branch(pair + n, [2] * length, 1) for n, length in enumerate(lengths)]))
        pair += len(lengths)
    return made


FOREST = forest([[3, 4, 5], [6], [2, 2, 2, 2], [9, 1]])


def torch_error() -> type[Exception]:
    import torch

    return torch.OutOfMemoryError


ERRORS = [
    ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"), ("MemoryError", ""),
    ("RuntimeError", "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ("RuntimeError", "CUBLAS: out of memory"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "words"), ERRORS)
def test_out_of_memory_halves_the_budget_and_says_so(kind: str, words: str) -> None:
    error = torch_error() if kind == "OutOfMemoryError" else {"MemoryError": MemoryError, "RuntimeError": RuntimeError}[kind]
    scorer, talk = Small(20, error, words), tiny.Talk()
    found, budget = score_within(scorer, FOREST, 1000, talk)
    assert found.tolist() == list(range(10))
    assert scorer.sizes[0] == sum(tree.tokens for tree in FOREST)
    assert 1 <= budget <= 28
    assert len(talk.warned) >= 1
    assert "out of memory in a batch of 56 tokens: going on with 28 a batch" in talk.warned[0]
    before = len(talk.warned)
    assert score_within(scorer, FOREST, budget, talk)[0].tolist() == list(range(10))
    assert len(talk.warned) == before, "the smaller budget stays"


@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=5), min_size=1, max_size=6), st.integers(17, 90), st.integers(1, 200))
def test_whatever_the_room_every_pair_comes_once_and_in_order(shapes: list[list[int]], room: int, tokens: int) -> None:
    trees = forest(shapes)
    found, _ = score_within(Small(room), trees, tokens, Silent())
    assert found.tolist() == list(range(sum(map(len, shapes))))


def test_a_pair_that_does_not_fit_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="one pair of 11 tokens does not fit into memory") as caught:
        score_within(Small(10), FOREST, 1000, Silent())
    assert "--weights int8" in caught.value.hint


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("x")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        score_within(Small(0, type(error), str(error)), FOREST, 1000, Silent())
    assert not out_of_memory(error)


def test_the_options_decide() -> None:
    scorer = Small(1)
    assert budget_for(LabelConfig(lm="lm", batch_tokens=77, memory="1GB"), scorer, "cpu") == 77
    assert budget_for(LabelConfig(lm="lm", memory="1 MB"), scorer, "cpu") == 1000
    assert budget_for(LabelConfig(lm="lm", memory="1MB"), Small(1, bytes_per_token=10**6), "cpu") == budgets.FEWEST_TOKENS
    assert budget_for(LabelConfig(lm="lm", memory="8TB"), scorer, "cpu") == budgets.MOST_TOKENS["cpu"]


def test_without_options_most_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "free_memory", lambda _: 2_000_000)
    assert budget_for(LabelConfig(lm="lm"), Small(1, bytes_per_token=2000), "cpu") == 700


def test_what_is_free_here_and_within_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert 0 < free_memory("cpu") < 1 << 60
    monkeypatch.setattr(sizes, "GROUPS", tmp_path)
    machine = free_memory("cpu")
    (tmp_path / "memory.current").write_text("1000\n")
    for limit, room in (("max\n", machine), ("5000\n", 4000), ("500\n", 0)):
        (tmp_path / "memory.max").write_text(limit)
        assert abs(free_memory("cpu") - room) <= (machine // 2 if limit == "max\n" else 0)
