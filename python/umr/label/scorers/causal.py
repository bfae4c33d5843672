"""Causal language models: log p(query | passage, prompt) with the passage run once for all of its queries."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import Reduction
from umr.label.scorers.attention import additive, block_mask, install
from umr.label.scorers.cost import cost_of
from umr.label.scorers.head import AGREE, ChunkedHead, Head, OwnLogits, find_projection, reduce
from umr.label.scorers.pack import Branch, Pack, Tree, fill, pack, visible
from umr.models.device import autocast
from umr.models.lm import LanguageModel

BLOCKS = {"cpu": 2048, "cuda": 16384}  # tokens in a row where attention goes by blocks
WHOLE = {"cpu": 1024, "cuda": 2048}  # and where every token is compared with every other
PROBE = Tree([5, 6, 7, 8, 9], [Branch(0, [10, 11, 12], 2), Branch(1, [10, 13], 1), Branch(2, [14, 15, 16, 17], 3)])
REFUSALS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


class CausalScorer:
    """Scores with a causal language model.

    Arguments:
        lm: the model.
        reduction: mean or sum over target tokens.
        share: run a passage once for all its queries; off runs every branch alone.
    """

    def __init__(self, lm: LanguageModel, reduction: Reduction, share: bool = True) -> None:
        self.lm, self.reduction, self.share = lm, reduction, share
        text = lm.model.config.get_text_config()  # of a multimodal model; else the configuration itself
        self._typed = bool(getattr(text, "layer_types", None))
        self._kinds = set(text.layer_types if self._typed else ["full_attention"])
        self._window = getattr(text, "sliding_window", None)
        self._keeps = "logits_to_keep" in inspect.signature(lm.model.forward).parameters
        self._dtype = torch.bfloat16 if lm.precision == "bf16" else torch.float32
        self._base: Any = None  # the model without its head, where our own takes its place
        self.head: Head = self._find_head()
        self._blocks = self._take_blocks()
        self.cost = cost_of(lm.model)

    @property
    def row_tokens(self) -> int:
        """Tokens of one forward pass."""
        sizes = BLOCKS if self._blocks else WHOLE
        return sizes.get(self.lm.device.type, sizes["cpu"])

    @property
    def bytes_per_token(self) -> int:
        """Working memory that one more token in a batch takes, estimated."""
        return self.cost.bytes_per_token(compared=0 if self._blocks or not self.share else self.row_tokens * len(self._kinds))

    def flops(self, trees: Sequence[Tree]) -> float:
        """Floating-point operations of the products with weights."""
        return sum(self.cost.flops(tree) for tree in trees)

    def score(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """Score one batch.

        Arguments:
            trees: what fits into memory together.

        Returns:
            [m] float32 nats, one a branch, in order of trees and branches.
        """
        packs = (pack(row) for row in self._rows(trees))
        with autocast(self.lm.precision, self.lm.device):
            parts = [reduce(self._logp(row), row.owner, row.branches, self.reduction) for row in packs]
        return np.concatenate([np.empty(0, dtype=np.float32), *parts])

    def _rows(self, trees: Sequence[Tree]) -> Iterator[list[Tree]]:
        if self.share:
            yield from fill(trees, self.row_tokens)
        else:
            yield from ([replace(tree, branches=[branch])] for tree in trees for branch in tree.branches)

    @torch.inference_mode()
    def _logp(self, row: Pack) -> Tensor:
        """Log-probabilities [t] of a row's target tokens."""
        rows, targets = (torch.from_numpy(a).to(self.lm.device) for a in (row.rows, row.targets))
        return self.head.logp(self._states(row), rows, targets)

    def _states(self, row: Pack) -> Tensor:
        """What predicts targets: last states [m, d], or logits [m, V] of a model whose own head is kept."""
        ids, positions, predict = (torch.from_numpy(a).to(self.lm.device) for a in (row.ids, row.positions, row.predict))
        inputs: dict[str, Any] = {"input_ids": ids[None], "use_cache": False}
        if self.share:
            inputs |= {"attention_mask": self._masks(row), "position_ids": positions[None]}
        if self._base is not None:
            return self._base(**inputs).last_hidden_state[0, predict]  # type: ignore[no-any-return]
        if self._keeps:
            return self.lm.model(**inputs, logits_to_keep=predict).logits[0]  # type: ignore[no-any-return]
        return self.lm.model(**inputs).logits[0, predict]  # type: ignore[no-any-return]

    def _masks(self, row: Pack) -> Any:
        """The block mask as the model takes it: one, or one for each kind of layer."""
        masks = {kind: self._mask(row, self._window if kind == "sliding_attention" else None) for kind in self._kinds}
        if self._kinds == {"full_attention"} and self._window and not self._typed:
            return self._mask(row, self._window)
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, row: Pack, window: int | None) -> Tensor:
        if self._blocks:
            return block_mask(row, window, self._dtype, self.lm.device)
        return additive(visible(row, window), self._dtype, self.lm.device)

    @torch.inference_mode()
    def _find_head(self) -> Head:
        """Our own head where a few tokens show that it gives the model's logits, else the model's."""
        model = self.lm.model
        base = model.base_model
        if base is model:
            return OwnLogits()
        ids = torch.tensor([PROBE.trunk], device=self.lm.device)
        try:
            with autocast(self.lm.precision, self.lm.device):
                hidden = base(input_ids=ids, use_cache=False).last_hidden_state[0]
                logits = model(input_ids=ids, use_cache=False).logits[0]
            projection = find_projection(model, hidden, logits, self.lm.precision)
        except REFUSALS:
            return OwnLogits()
        if projection is None:
            return OwnLogits()
        self._base = base
        return ChunkedHead(projection)

    @torch.inference_mode()
    def _take_blocks(self) -> bool:
        """Whether the model's layers compute attention by blocks: a small row must come out as under the whole mask."""
        if not self.share or not install(self.lm.model):
            return False
        row = pack([PROBE, PROBE])
        try:
            with autocast(self.lm.precision, self.lm.device):
                self._blocks = False
                whole = self._states(row).float()
                self._blocks = True
                parts = self._states(row).float()
        except REFUSALS:
            return False
        return bool((whole - parts).abs().max() <= 4 * AGREE[self.lm.precision] * whole.abs().max().clamp(min=1))
