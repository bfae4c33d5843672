"""What scoring costs: useful floating-point operations and working memory, from a model's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from umr.label.pack import Pack, Tree

CROSS = ("EncDecAttention", "encoder_attn", "crossattention")
KEYS_VALUES = ("k", "v", "k_proj", "v_proj", "key", "value")


@dataclass(frozen=True)
class Shape:
    """The sizes that decide the cost of a model.

    Arguments:
        layers: of the body, or of the decoder.
        width: of the states.
        inner: of the widest layer between two states.
        attention: heads x head dimensions.
        vocabulary: rows of the head.
        body: weights that a token is multiplied with, the head's and (of a decoder) those of the next two left out.
        encoder: of the encoder, 0 where there is none.
        crossing: of the keys and values that a decoder makes of a source.
        item: bytes of a number.
    """

    layers: int
    width: int
    inner: int
    attention: int
    vocabulary: int
    body: int
    encoder: int
    crossing: int
    item: int

    def bytes_per_token(self, compared: int = 0) -> int:
        """Working memory of one more token, estimated.

        Arguments:
            compared: mask entries of a token, where there is a mask over the whole row.
        """
        states = 8 * self.width + 4 * self.inner + 6 * self.attention
        kept = 2 * self.layers * self.attention if self.crossing else 0  # keys and values of a source
        return self.item * (states + kept + 2 * compared) + 8 * self.width

    def causal(self, row: Pack, window: int | None) -> float:
        """Operations of a packed row: weights, attention over ancestors, and the head at places that predict.

        Arguments:
            row: T tokens.
            window: sliding window of all layers, or None.
        """
        seen = row.positions + 1
        compared = float((np.minimum(seen, window) if window else seen).sum())
        head = 2.0 * self.width * self.vocabulary * len(row.predict)
        return 2.0 * self.body * len(row.ids) + 4.0 * self.layers * self.attention * compared + head

    def encoder_decoder(self, trees: Sequence[Tree]) -> float:
        """Operations of sources that are encoded once and targets that are decoded."""
        total = 0.0
        for tree in trees:
            source = len(tree.trunk)
            total += 2.0 * (self.encoder + self.crossing) * source + 4.0 * self.layers * self.attention * source**2
            for branch in tree.branches:
                target = len(branch.ids)
                compared = target * source + target * (target + 1) / 2
                total += (2.0 * self.body + 2.0 * self.width * self.vocabulary) * target + 4.0 * self.layers * self.attention * compared
        return total


def shape_of(model: Any) -> Shape:
    """The shape of a transformers model, from its configuration and its weights."""
    config = model.config.get_text_config()
    width = int(_first(config, "hidden_size", "d_model", "n_embd"))
    heads = int(_first(config, "num_attention_heads", "n_head", "num_heads", default=1))
    head = int(_first(config, "head_dim", "d_kv", default=max(1, width // max(heads, 1))))
    inner = int(_first(config, "intermediate_size", "decoder_ffn_dim", "ffn_dim", "d_ff", "n_inner", default=4 * width))
    layers = int(_first(config, "num_decoder_layers", "decoder_layers", "num_hidden_layers", "n_layer", default=1))
    encoder = _weights(model.get_encoder()) if model.config.is_encoder_decoder else 0
    body = _weights(model.get_decoder()) if model.config.is_encoder_decoder else _weights(model.base_model)
    crossing = _crossing(model) if model.config.is_encoder_decoder else 0
    item = next(iter(model.parameters())).element_size()
    return Shape(layers, width, inner, heads * head, int(config.vocab_size), body - crossing, encoder, crossing, item)


def _first(config: Any, *names: str, default: int = 0) -> Any:
    return next((value for name in names if (value := getattr(config, name, None))), default)


def _weights(module: Any) -> int:
    """Entries of the matrices that a token is multiplied with: all but the tables that it is looked up in, and the head."""
    from torch import nn

    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    head = getattr(module.get_output_embeddings(), "weight", None) if hasattr(module, "get_output_embeddings") else None
    tables.add(id(head))
    return sum(p.numel() for p in module.parameters() if p.ndim == 2 and id(p) not in tables)


def _crossing(model: Any) -> int:
    names = ((name.split("."), p) for name, p in model.get_decoder().named_parameters())
    return sum(p.numel() for parts, p in names if p.ndim == 2 and any(c in parts for c in CROSS) and parts[-2] in KEYS_VALUES)
