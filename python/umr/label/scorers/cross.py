"""Decoding with cross-attention keys and values that are computed once a source, however many queries it has.

A decoder layer multiplies every token of a source twice to get its keys and values. transformers keeps them in a cache for
generation; here one decoder step over the sources fills that cache, and every batch of targets reads its rows, a layer at a
time, so that no layer's copy outlives its use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from umr.label.scorers import REFUSALS


@dataclass(frozen=True)
class Encoded:
    """Sources that went through the encoder.

    Arguments:
        states: [S, L, d] last states, padded to the longest.
        mask: [S, L] 1 for tokens and 0 for padding, or None without padding.
        layers: keys and values [S, heads, L, head dimensions] of every decoder layer; none where the model takes no cache.
    """

    states: Tensor
    mask: Tensor | None
    layers: list[tuple[Tensor, Tensor]]


def encode(model: Any, ids: Tensor, mask: Tensor | None, start: int, cached: bool) -> Encoded:
    """Run the encoder, and where a cache is taken one decoder step that fills it.

    Arguments:
        model: transformers encoder-decoder.
        ids: [S, L] sources.
        mask: [S, L] or None.
        start: id that the decoder starts with.
        cached: whether the model takes a cache.
    """
    states = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    encoded = Encoded(states, mask, [])
    if not cached:
        return encoded
    from transformers import DynamicCache, EncoderDecoderCache

    crossing: Any = DynamicCache()
    _decoder(model, ids.new_full((len(ids), 1), start), encoded, EncoderDecoderCache(DynamicCache(), crossing))
    return Encoded(states, mask, [(layer.keys, layer.values) for layer in crossing.layers])


def decode(model: Any, ids: Tensor, encoded: Encoded, source: Tensor) -> Tensor:
    """Last states of the decoder.

    Arguments:
        model: transformers encoder-decoder.
        ids: [B, T] decoder inputs, padded on the right.
        encoded: the sources.
        source: [B] the source of each row.

    Returns:
        [B, T, d] states, of padding too.
    """
    mask = None if encoded.mask is None else encoded.mask[source]
    if not encoded.layers:
        return _decoder(model, ids, Encoded(_rows(encoded.states, source), mask, []), None)
    from transformers import DynamicCache, EncoderDecoderCache

    cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
    cache.cross_attention_cache.layers = [_Gathered(keys, values, source) for keys, values in encoded.layers]
    cache.is_updated = dict.fromkeys(range(len(encoded.layers)), True)  # so that no layer makes them again
    placeholder = encoded.states[:1].expand(len(ids), -1, -1)  # its shape alone is read
    return _decoder(model, ids, Encoded(placeholder, mask, []), cache)


def _decoder(model: Any, ids: Tensor, encoded: Encoded, cache: Any) -> Tensor:
    return model.get_decoder()(  # type: ignore[no-any-return]
        input_ids=ids,
        encoder_hidden_states=encoded.states,
        encoder_attention_mask=encoded.mask,
        past_key_values=cache,
        use_cache=cache is not None,
    ).last_hidden_state


def _rows(states: Tensor, source: Tensor) -> Tensor:
    """Rows of [S, ...] for each of `source` [B]; of a single source without a copy."""
    return states.expand(len(source), *states.shape[1:]) if len(states) == 1 else states[source]


class _Gathered:
    """A filled layer of a cache, whose rows are gathered when they are read.

    Arguments:
        keys, values: [S, heads, L, head dimensions] of the sources.
        source: [B] the source of each row.
    """

    def __init__(self, keys: Tensor, values: Tensor, source: Tensor) -> None:
        self._keys, self._values, self._source = keys, values, source

    @property
    def keys(self) -> Tensor:
        """[B, heads, L, head dimensions]."""
        return _rows(self._keys, self._source)

    @property
    def values(self) -> Tensor:
        """[B, heads, L, head dimensions]."""
        return _rows(self._values, self._source)


@torch.inference_mode()
def takes_cache(model: Any, start: int, tolerance: float) -> bool:
    """Whether a decoder gives the same states with a filled cache as without one.

    Arguments:
        model: transformers encoder-decoder.
        start: id that the decoder starts with.
        tolerance: of the largest state.
    """
    device = next(iter(model.parameters())).device
    sources, rows = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 5]], device=device), torch.tensor([1, 0, 1], device=device)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], device=device)
    targets = torch.tensor([[start, 12, 13], [start, 14, 5], [start, 6, 6]], device=device)
    try:
        encoded = encode(model, sources, mask, start, cached=True)
        found = decode(model, targets, encoded, rows).float()
        expected = decode(model, targets, Encoded(encoded.states, mask, []), rows).float()
    except REFUSALS:
        return False
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1))
