"""Dropout number by number, and attention row by row. Slow twin of `umr.encoder.dropout`."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def stays(elements: int, p: float) -> list[bool]:
    """Which elements stay: each by 16 bits of torch's generator, four to a word, the lowest first, as a signed number."""
    words = torch.empty(math.ceil(elements / 4), dtype=torch.int64).random_(-(2**63), None).tolist()
    numbers = [(word >> shift) % 2**16 for word in words for shift in (0, 16, 32, 48)]
    signed = [number - 2**16 if number >= 2**15 else number for number in numbers]
    return [number + 2**15 >= round(p * 2**16) for number in signed[:elements]]


def dropout(x: Tensor, p: float) -> Tensor:
    """Every element that stays, divided by the share that stays."""
    share = 1 - round(p * 2**16) / 2**16
    values = [value / share if stay else value * 0 for value, stay in zip(x.flatten(), stays(x.numel(), p), strict=True)]
    return torch.stack(values).reshape(x.shape) if values else x


def attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, p: float) -> Tensor:
    """One text, one head: weights of the tokens that are seen, dropped, times their values.

    Arguments:
        query, key, value: [L, d].
        seen: [L, L] bool.
        p: of the dropout.
    """
    rows = []
    for place, asked in enumerate(query):
        products = [float("-inf") if not seen[place, other] else asked @ key[other] / math.sqrt(len(asked)) for other in range(len(key))]
        rows.append(torch.stack([torch.as_tensor(product) for product in products]).softmax(0))
    return dropout(torch.stack(rows), p) @ value
