"""Useful floating-point operations of labelling: what the scores need when nothing is computed twice or for padding.

    FLOP = 2 x body parameters x useful tokens + 2 x hidden size x vocabulary x target tokens

Body parameters are the weights of the projections, counted from the config: a layer has hidden x heads x head_dim (q),
twice hidden x kv_heads x head_dim (k and v), heads x head_dim x hidden (o) and 3 x hidden x intermediate (gated MLP).
Useful tokens of a passage's group: the tokens that all its prompts begin with, once, then of every pair the rest of its
prompt and its question. Attention scores, norms and the softmax are not counted, nor are padding and repeated passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """Tokens that a set of pairs needs.

    Arguments:
        tokens: useful ones.
        targets: of them, those whose likelihood is asked.
        whole: tokens of the pairs when nothing is shared.
    """

    tokens: int
    targets: int
    whole: int

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.targets + other.targets, self.whole + other.whole)


def work(sources: Sequence[list[int]], targets: Sequence[list[int]]) -> Work:
    """The work of one group.

    Arguments:
        sources: token ids of each pair's prompt with the passage.
        targets: token ids of each pair's question.
    """
    shared = 0
    low, high = min(sources), max(sources)  # what the extremes have in common, all have
    while shared < min(map(len, sources)) - 1 and low[shared] == high[shared]:
        shared += 1
    asked = sum(map(len, targets))
    whole = sum(map(len, sources)) + asked
    return Work(whole - shared * (len(sources) - 1), asked, whole)


def body_parameters(config: Any) -> int:
    """Parameters that every token is multiplied with, the vocabulary's apart."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    kv = getattr(config, "num_key_value_heads", None) or heads
    dim = getattr(config, "head_dim", None) or hidden // heads
    layer = hidden * dim * (2 * heads + 2 * kv) + 3 * hidden * config.intermediate_size
    return int(config.num_hidden_layers * layer)


def head_parameters(config: Any) -> int:
    """Parameters that every target token is multiplied with."""
    return int(config.hidden_size * config.vocab_size)


def useful_flop(needed: Work, config: Any) -> float:
    """FLOP of some work."""
    return 2.0 * body_parameters(config) * needed.tokens + 2.0 * head_parameters(config) * needed.targets
