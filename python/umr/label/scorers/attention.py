"""Attention of a packed row in blocks: a token is compared with its own trunk and its own neighbourhood, not with the whole row.

A mask over the whole row is quadratic in its tokens, in memory and in work; a branch sees about its trunk and itself. So each
tree is cut into blocks of queries, and a block's keys are the trunk and what lies between its first ancestor and its end. The
blocks reach the layers as an attribute of the mask, which a model passes on unchanged; without it, attention is transformers'
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.label.scorers.pack import Pack, ancestors

NAME = "umr_blocks"
QUERIES = {"cpu": 128, "cuda": 1024}  # tokens in a block: a GPU pays for each launch, a CPU for each comparison


@dataclass(frozen=True)
class Block:
    """Some queries of a row and what they may see.

    Arguments:
        start, end: places of the queries.
        keys: one or two stretches of places, in order.
        mask: [1, 1, queries, keys] added to the comparisons.
    """

    start: int
    end: int
    keys: list[tuple[int, int]]
    mask: Tensor


def install(model: Any) -> bool:
    """Have a model call `attend`; False where it does not take another attention than its own."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config = model.config.get_text_config()
    if config._attn_implementation not in ("sdpa", NAME):
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    try:
        model.set_attn_implementation(NAME)
    except (ValueError, ImportError, OSError, KeyError):
        return False
    return bool(config._attn_implementation == NAME)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention over the blocks of the mask, or over everything where it has none.

    Arguments:
        module: the attention layer.
        query, key, value: [1, heads, T, head dimensions].
        attention_mask: from `block_mask`, or any that transformers makes.
        options: passed on.

    Returns:
        [1, T, heads, head dimensions], and no weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    blocks: list[Block] | None = getattr(attention_mask, NAME, None)
    if blocks is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    parts = []
    for block in blocks:
        keys, values = (_stretches(states, block.keys) for states in (key, value))
        part, _ = sdpa_attention_forward(module, query[:, :, block.start : block.end], keys, values, block.mask, **options)
        parts.append(part)
    return torch.cat(parts, dim=1), None


def _stretches(states: Tensor, stretches: list[tuple[int, int]]) -> Tensor:
    parts = [states[:, :, a:b] for a, b in stretches]
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


def block_mask(row: Pack, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The mask to give to a model, so that `attend` sees the blocks of a row.

    Arguments:
        row: T tokens.
        window: a sliding window in tokens, or None for full attention.
        dtype: of the products.
        device: of the model.
    """
    mask = torch.zeros(1, 1, 1, 1, dtype=dtype, device=device)
    mask.__dict__[NAME] = [
        Block(start, end, keys, additive(seen, dtype, device))
        for start, end, keys, seen in cut(row, QUERIES.get(device.type, QUERIES["cpu"]), window)
    ]
    return mask


def additive(seen: NDArray[np.bool_], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A mask [1, 1, q, k] to add to comparisons: 0 where `seen` [q, k], else the lowest number."""
    hidden = torch.from_numpy(~seen).to(device)
    return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, torch.finfo(dtype).min)[None, None]


def cut(row: Pack, queries: int, window: int | None) -> Iterator[tuple[int, int, list[tuple[int, int]], NDArray[np.bool_]]]:
    """Cut a row into blocks, in order.

    Arguments:
        row: T tokens.
        queries: tokens in a block at most.
        window: a sliding window in tokens, or None.

    Returns:
        of each block its first and last place, its stretches of keys, and which query [q] sees which key [k].
    """
    for start, stem, end in row.trees.tolist():
        seen = ancestors(row, start, end, window)  # places count from `start`
        for first, last in _ranges(start, stem, end, queries):
            trunk = _stretch(seen[first - start : last - start, : min(stem, last) - start], start)
            own = _stretch(seen[first - start : last - start, stem - start : last - start], stem) if last > stem else None
            keys = [stretch for stretch in (trunk, own) if stretch]
            columns = np.concatenate([np.arange(a, b) for a, b in keys]) - start
            yield first, last, keys, seen[first - start : last - start, columns]


def _ranges(start: int, stem: int, end: int, queries: int) -> Iterator[tuple[int, int]]:
    for low, high in ((start, stem), (stem, end)):
        for first in range(low, high, queries):
            yield first, min(first + queries, high)


def _stretch(seen: NDArray[np.bool_], offset: int) -> tuple[int, int] | None:
    """The shortest stretch of columns with all that is seen, counted from `offset`; None where nothing is."""
    columns = np.flatnonzero(seen.any(axis=0))
    return (offset + int(columns[0]), offset + int(columns[-1]) + 1) if len(columns) else None
