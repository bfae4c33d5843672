"""Causal language models: log p(query | passage, prompt) with the passage run once for all of its queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import Reduction
from umr.label.scorers import REFUSALS, Scorer
from umr.label.scorers.cost import cost_of
from umr.label.scorers.head import ChunkedHead, Head, OwnLogits, find_projection, reduce
from umr.label.scorers.rows import lay_out
from umr.label.scorers.trees import Tree, split
from umr.models.device import autocast
from umr.models.feeding import prefetch, send
from umr.models.lm import LanguageModel

ROW_TOKENS = {"cpu": 1024, "cuda": 1024}  # of a row, where every token is compared with every other; a larger tree is split
PASS_TOKENS = {"cpu": 1024, "cuda": 32768}  # of a forward pass, padding included
MULTIPLE = {"cpu": 1, "cuda": 64}  # that the width of rows is rounded up to: a GPU's kernels want few and even shapes
PROBE = [5, 6, 7, 8, 9]


class CausalScorer(Scorer):
    """Scores with a causal language model.

    Each tree is a row, and a mask lets a token see its own beginning alone. Where a model does not take such a mask, every pair
    is a row of its own; padding stands at the end, where a causal model does not look.

    Arguments:
        lm: the model.
        reduction: mean or sum over target tokens.
        share: run a passage once for all its queries; off makes a row of every pair.
    """

    def __init__(self, lm: LanguageModel, reduction: Reduction, share: bool = True) -> None:
        self.lm, self.reduction, self.share = lm, reduction, share
        text = lm.model.config.get_text_config()  # of a multimodal model; else the configuration itself
        self._window = getattr(text, "sliding_window", None)
        unnamed = "sliding_attention" if self._window else "full_attention"  # of a model whose layers are all alike
        self._kinds: list[str] = sorted(set(getattr(text, "layer_types", None) or [unnamed]))
        plain = text._attn_implementation == "sdpa" and lm.device.type == "cpu"  # a GPU would wait in each layer to make it numbers
        half = lm.device.type == "cuda" and lm.precision == "bf16"
        self._added = None if plain else torch.bfloat16 if half else torch.float32  # what the mask adds; None: it says yes and no
        self._base: Any = None  # the model without its head, where our own takes its place
        self.head: Head = self._find_head()
        self.cost = cost_of(lm.model)

    @property
    def bytes_per_token(self) -> int:
        """Working memory that one more token in a batch takes, estimated."""
        return self.cost.bytes_per_token(compared=ROW_TOKENS[self.lm.device.type] * len(self._kinds) if self.share else 0)

    @torch.inference_mode()
    def score(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """Score one batch: for a GPU rows are laid out in a thread while those before them are computed, and nothing is waited for.

        Arguments:
            trees: what fits into memory together.

        Returns:
            [m] float32 nats, one a branch, in order of trees and branches.
        """
        inputs = prefetch(map(self._inputs, self._passes(trees)), self.lm.device)
        with autocast(self.lm.precision, self.lm.device):
            parts = [self._score(one) for one in inputs]
        return torch.cat(parts).cpu().numpy() if parts else np.empty(0, dtype=np.float32)

    def _passes(self, trees: Sequence[Tree]) -> Iterator[list[Tree]]:
        """The rows of each forward pass, as many as fit."""
        shared = (part for tree in trees for part in split(tree, ROW_TOKENS[self.lm.device.type]))
        alone = (replace(tree, branches=[branch]) for tree in trees for branch in tree.branches)
        limit = PASS_TOKENS[self.lm.device.type] if self._base is not None else PASS_TOKENS["cpu"]  # whole logits are large
        rows, width = list[Tree](), 0
        for row in shared if self.share else alone:
            width = max(width, row.tokens)
            if rows and width * (len(rows) + 1) > limit:
                yield rows
                rows, width = [], row.tokens
            rows.append(row)
        if rows:
            yield rows

    def _inputs(self, rows: list[Tree]) -> dict[str, Tensor]:
        """What a forward pass takes."""
        return {name: send(values, self.lm.device) for name, values in vars(lay_out(rows, MULTIPLE[self.lm.device.type])).items()}

    def _score(self, inputs: dict[str, Tensor]) -> Tensor:
        """[n] float32 scores of the branches of a forward pass."""
        logp = self.head.logp(self._states(inputs), inputs["state_of"], inputs["targets"])
        return reduce(logp, inputs["counts"], self.reduction)

    def _states(self, inputs: dict[str, Tensor]) -> Tensor:
        """What predicts targets: last states [m, d], or logits [m, V] of a model whose own head is kept."""
        options: dict[str, Any] = {"input_ids": inputs["ids"], "use_cache": False}
        if self.share:
            masks = {kind: self._mask(inputs, self._window if kind == "sliding_attention" else None) for kind in self._kinds}
            options |= {"attention_mask": masks if len(masks) > 1 else masks[self._kinds[0]], "position_ids": inputs["positions"]}
        found = self.lm.model(**options).logits if self._base is None else self._base(**options).last_hidden_state
        return found.flatten(0, 1).index_select(0, inputs["predict"].to(found.device)).to(self.lm.device)  # type: ignore[no-any-return]

    def _mask(self, inputs: dict[str, Tensor], window: int | None) -> Tensor:
        """[B, 1, W, W] whether a token (row) sees another (column), within a window of tokens, as the model's attention takes it."""
        ends, positions = inputs["ends"], inputs["positions"]
        place = torch.arange(ends.shape[1], device=ends.device)
        seen = (place <= place[:, None]) & (place[:, None] < ends[:, None, :])  # [B, W, W]
        if window:
            seen &= positions[:, :, None] - positions[:, None, :] < window
        if self._added is None:
            return seen[:, None]
        return torch.zeros((), dtype=self._added, device=ends.device).where(seen, torch.finfo(self._added).min)[:, None]

    @torch.inference_mode()
    def _find_head(self) -> Head:
        """Our own head where a few tokens show that it gives the model's logits, else the model's."""
        model = self.lm.model
        base = model.base_model
        if base is model:
            return OwnLogits()
        ids = torch.tensor([PROBE], device=self.lm.device)
        try:
            with autocast(self.lm.precision, self.lm.device):
                hidden = base(input_ids=ids, use_cache=False).last_hidden_state[0].to(self.lm.device)
                logits = model(input_ids=ids, use_cache=False).logits[0].to(self.lm.device)
            projection = find_projection(model, hidden, logits, self.lm.precision)
        except REFUSALS:
            return OwnLogits()
        if projection is None:
            return OwnLogits()
        self._base = base
        return ChunkedHead(projection, split=self.lm.precision == "bf16")
