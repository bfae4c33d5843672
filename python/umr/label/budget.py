"""How many tokens go into one batch: as many as the memory allows, and half of them after it ran out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label.pack import Tree, fill
from umr.progress import Reporter
from umr.sizes import bytes_of, free_memory

if TYPE_CHECKING:
    from umr.label.work import Scorer

SHARE = 0.7  # of what is free: the rest is for what else the machine does
LEAST = 64  # tokens
MOST = {"cpu": 4096, "cuda": 65536}  # beyond these a batch gets slower or no faster
SIGNS = ("out of memory", "can't allocate", "not enough memory", "cannot allocate memory")


@dataclass
class Budget:
    """Tokens of one batch at most; it shrinks when memory runs out.

    Arguments:
        tokens: at most.
        why: where the number comes from, in words.
    """

    tokens: int
    why: str

    def halve(self, tokens: int) -> None:
        """Take half of what did not fit.

        Arguments:
            tokens: of the batch that did not fit.
        """
        self.tokens = max(1, min(self.tokens, tokens) // 2)


def budget_for(config: LabelConfig, scorer: Scorer, device: str) -> Budget:
    """The budget that the options ask for.

    Arguments:
        config: `pack_tokens` decides where it is given, else `memory`, else most of what is free.
        scorer: says what a token takes, and beyond which size nothing gets faster.
        device: cpu or cuda.
    """
    if config.pack_tokens is not None:
        return Budget(config.pack_tokens, "as asked for")
    memory = bytes_of(config.memory) if config.memory else int(SHARE * free_memory(device))
    most = int(getattr(scorer, "most_tokens", MOST.get(device, MOST["cpu"])))
    tokens = max(LEAST, min(most, memory // max(1, scorer.bytes_per_token)))
    return Budget(tokens, f"of {memory / 1e9:,.1f} GB of working memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in Python's, torch's or an allocator's words."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def score_within(scorer: Scorer, trees: Sequence[Tree], budget: Budget, reporter: Reporter) -> NDArray[np.float32]:
    """Score a batch; where memory runs out, halve the budget, say so, and go on with smaller ones.

    Arguments:
        scorer: of trees.
        trees: the batch.
        budget: of tokens; changed when memory runs out.
        reporter: told when it is.

    Returns:
        [m] float32 nats, in order of trees and branches.

    Raises:
        UsageError: one pair alone does not fit.
    """
    scores: list[NDArray[np.float32]] = []
    waiting = list(fill(trees, budget.tokens))[::-1] if _tokens(trees) > budget.tokens else [list(trees)]
    while waiting:
        part = waiting.pop()
        found = _try(scorer, part)
        if found is None:
            _shrink(part, budget, reporter)
            waiting += list(fill(part, budget.tokens))[::-1]
        else:
            scores.append(found)
    return np.concatenate(scores)


def _try(scorer: Scorer, trees: Sequence[Tree]) -> NDArray[np.float32] | None:
    """Scores, or None where memory ran out; the error is gone by then, and with it the tensors that its frames hold."""
    try:
        return scorer.score(trees)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    _free()
    return None


def _free() -> None:
    import sys

    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _shrink(trees: Sequence[Tree], budget: Budget, reporter: Reporter) -> None:
    tokens = _tokens(trees)
    if sum(len(tree.branches) for tree in trees) == 1:
        raise UsageError(
            f"one pair of {tokens:,} tokens does not fit into memory",
            "lower source_length under [label] of a run file (--config), take --weights int8, or take a smaller model",
        )
    budget.halve(tokens)
    reporter.warn(f"out of memory in a batch of {tokens:,} tokens: going on with {budget.tokens:,} a batch")


def _tokens(trees: Sequence[Tree]) -> int:
    return sum(tree.tokens for tree in trees)
