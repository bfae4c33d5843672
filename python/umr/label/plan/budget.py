"""How many tokens go into one batch: as many as the memory allows, and half of them after it ran out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label.scorers import Scorer
from umr.label.scorers.trees import Tree, fill
from umr.models.device import release_memory, without_memory
from umr.progress import Reporter
from umr.sizes import bytes_of, free_memory

FREE_SHARE = 0.7  # of the free memory: the rest is for what else the machine does
FEWEST_TOKENS = 64  # of a batch
MOST_TOKENS = {"cpu": 4096, "cuda": 262144}  # of a batch: a second or less; a killed run scores one again
PASS_TOKENS = 32768  # a GPU that has room for so many has room for any batch, which takes several forward passes


def budget_for(config: LabelConfig, scorer: Scorer, device: str) -> int:
    """Tokens of a batch at most.

    Arguments:
        config: `batch_tokens` decides where it is given, else `memory`, else most of what is free.
        scorer: says what a token takes.
        device: cpu, cuda or cuda:N.
    """
    if config.batch_tokens is not None:
        return config.batch_tokens
    memory = bytes_of(config.memory) if config.memory else int(FREE_SHARE * free_memory(device))
    most, room = MOST_TOKENS[device.partition(":")[0]], memory // max(1, scorer.bytes_per_token)
    if device.startswith("cuda") and room >= PASS_TOKENS:
        return most
    return max(FEWEST_TOKENS, min(most, room))


def score_within(scorer: Scorer, trees: Sequence[Tree], budget: int, reporter: Reporter) -> tuple[NDArray[np.float32], int]:
    """Score a batch; where memory runs out, halve the budget, say so, and go on with smaller ones.

    Arguments:
        scorer: of trees.
        trees: the batch.
        budget: tokens that are scored at once, at most.
        reporter: told when memory runs out.

    Returns:
        [m] float32 nats, in order of trees and branches, and the budget that is left.

    Raises:
        UsageError: one pair alone does not fit.
    """
    scores: list[NDArray[np.float32]] = []
    waiting = list(fill(trees, budget))[::-1]
    while waiting:
        part = waiting.pop()
        found = _try(scorer, part)
        if isinstance(found, str):
            budget = _smaller(part, budget, found, reporter)
            waiting += list(fill(part, budget))[::-1]
        else:
            scores.append(found)
    return np.concatenate(scores), budget


def _try(scorer: Scorer, trees: Sequence[Tree]) -> NDArray[np.float32] | str:
    """Scores, or how memory ran out; the error is gone by then, and with it the tensors that its frames hold."""
    try:
        return scorer.score(trees)
    except (MemoryError, RuntimeError) as error:
        said = without_memory(error)
    release_memory()
    return said


def _smaller(trees: Sequence[Tree], budget: int, said: str, reporter: Reporter) -> int:
    tokens = sum(tree.tokens for tree in trees)
    if sum(len(tree.branches) for tree in trees) == 1:
        raise UsageError(
            f"one pair of {tokens:,} tokens does not fit into memory{said}",
            "lower source_length under [label] of a run file (--config), take --weights int8, or take a smaller model",
        )
    budget = max(1, min(budget, tokens) // 2)
    reporter.warn(f"out of memory in a batch of {tokens:,} tokens: going on with {budget:,} a batch")
    return budget
