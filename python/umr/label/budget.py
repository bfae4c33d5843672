"""How many tokens go into one batch: as many as the memory allows, and half of them after it ran out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label.pack import Tree, fill
from umr.progress import Reporter
from umr.sizes import bytes_of

if TYPE_CHECKING:
    from umr.label.work import Scorer

SHARE = 0.7  # of what is free: the rest is for what else the machine does
LEAST = 64  # tokens
MOST = {"cpu": 4096, "cuda": 65536}  # beyond these a batch gets slower or no faster
UNKNOWN = 4 << 30  # bytes, where the system does not say what is free
GROUPS = Path("/sys/fs/cgroup")
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


def free_memory(device: str) -> int:
    """Bytes that are free: on a CUDA device its own, else those of the machine within the limit of the control group."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return min(_available(), _group_room())


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return UNKNOWN


def _group_room() -> int:
    """What the control group (a container, a job) may still take; without one, anything."""
    try:
        limit = (GROUPS / "memory.max").read_text(encoding="ascii").strip()
        taken = int((GROUPS / "memory.current").read_text(encoding="ascii"))
        return 1 << 62 if limit == "max" else max(0, int(limit) - taken)
    except (OSError, ValueError):
        return 1 << 62


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
            "lower --source-length, keep the weights in int8 (--weights int8), or take a smaller model",
        )
    budget.halve(tokens)
    reporter.warn(f"out of memory in a batch of {tokens:,} tokens: going on with {budget.tokens:,} a batch")


def _tokens(trees: Sequence[Tree]) -> int:
    return sum(tree.tokens for tree in trees)
