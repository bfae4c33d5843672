"""Useful floating-point operations of labelling: what the scores need when nothing is computed twice or for padding.

    FLOP = 2 x (body - last) x tokens + 2 x (keys x tokens + (last - keys) x places) + 2 x hidden x vocabulary x places

Body parameters are the weights of the projections, counted from the config: a layer has hidden x heads x head_dim (q),
twice hidden x kv_heads x head_dim (k and v), heads x head_dim x hidden (o) and 3 x hidden x intermediate (gated MLP). Of the
last layer, tokens that predict nothing need keys and values alone. Tokens of a passage's group: what prompts and questions
begin with in common counts once, and the last token of a question is never read; places are those that predict a token of a
question, each once. Attention scores, norms and the softmax are not counted, nor are padding and repeated passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """Tokens that a set of pairs needs.

    Arguments:
        tokens: that are read.
        places: that predict.
        whole: tokens of the pairs when nothing is shared.
    """

    tokens: int
    places: int
    whole: int

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.places + other.places, self.whole + other.whole)


def work(sources: Sequence[list[int]], targets: Sequence[list[int]]) -> Work:
    """The work of one group, by the set of beginnings that have to be read.

    Arguments:
        sources: token ids of each pair's prompt with the passage.
        targets: token ids of each pair's question.
    """
    read: set[tuple[int, ...]] = set()
    predict: set[tuple[int, ...]] = set()
    for source, target in zip(sources, targets, strict=True):
        ids = (*source, *target)
        read |= {ids[:end] for end in range(1, len(ids))}
        predict |= {ids[:end] for end in range(len(source), len(ids))}
    return Work(len(read), len(predict), sum(map(len, sources)) + sum(map(len, targets)))


def _layer(config: Any) -> tuple[int, int]:
    """Parameters of a layer, and those of them that make keys and values."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    kv = getattr(config, "num_key_value_heads", None) or heads
    dim = getattr(config, "head_dim", None) or hidden // heads
    return hidden * dim * (2 * heads + 2 * kv) + 3 * hidden * config.intermediate_size, 2 * hidden * dim * kv


def useful_flop(needed: Work, config: Any) -> float:
    """FLOP of some work."""
    layer, keys = _layer(config)
    body = (config.num_hidden_layers - 1) * layer * needed.tokens + keys * needed.tokens + (layer - keys) * needed.places
    return float(2.0 * (body + config.hidden_size * config.vocab_size * needed.places))
