"""Causal language models: log p(query | passage, prompt) with the passage run once for all of its queries."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from umr.config import Reduction
from umr.errors import UsageError
from umr.label.likelihood import reduce, token_logp
from umr.label.pack import Pack, Tree, fill, grow, pack, visible
from umr.label.prompt import Prompt, source_ids, target_ids
from umr.label.work import Group, Question, Scored
from umr.models.lm import LanguageModel
from umr.progress import Reporter

TOLERANCE = {
    "fp32": 1e-3,
    "bf16": 0.15,
}  # nats a token: larger differences mean that the model does not take block masks


class CausalScorer:
    """Scores with a causal language model.

    Arguments:
        lm: the model.
        prompt: the templates.
        limit: source tokens at most.
        reduction: mean or sum over target tokens.
        budget: tokens in one packed row.
        share: run a passage once for all its queries; off scores pair by pair.
    """

    def __init__(self, lm: LanguageModel, prompt: Prompt, limit: int, reduction: Reduction, budget: int, share: bool = True) -> None:
        self.lm, self.prompt, self.limit, self.reduction, self.budget, self.share = (
            lm,
            prompt,
            limit,
            reduction,
            budget,
            share,
        )
        text = lm.model.config.get_text_config()  # of a multimodal model; else the configuration itself
        self._typed = bool(getattr(text, "layer_types", None))
        self._kinds = set(text.layer_types if self._typed else ["full_attention"])
        self._window = getattr(text, "sliding_window", None)
        self._keeps = "logits_to_keep" in inspect.signature(lm.model.forward).parameters

    def check(self, groups: Iterable[Group], reporter: Reporter) -> None:
        """Score a few pairs packed and whole; where they disagree, the model cannot share and pairs go alone."""
        few = [Group(g.title, g.text, g.questions[:2]) for g in groups]
        try:
            packed = dict(zip(*self._all(few), strict=True))
        except torch.OutOfMemoryError:
            raise
        except (IndexError, RuntimeError, TypeError, ValueError):  # Bloom's and Mamba's ways to refuse a block mask
            packed = {}
        self.share = False
        whole = dict(zip(*self._all(few), strict=True))
        worst = max(abs(packed.get(p, math.inf) - whole[p]) for p in whole)
        self.share = bool(worst <= TOLERANCE[self.lm.precision])
        if not self.share:
            why = f"off by {worst:.3g} nats" if packed else "it takes no block mask"
            reporter.warn(f"this model does not score shared passages correctly ({why}): scoring whole pairs, slower")

    def _all(self, groups: Iterable[Group]) -> tuple[list[int], list[float]]:
        parts = list(self.score(groups))
        return [p for pairs, _ in parts for p in pairs], [float(v) for _, values in parts for v in values]

    def score(self, groups: Iterable[Group]) -> Iterator[Scored]:
        """Scores, a packed row at a time."""
        trees = chain.from_iterable(self._trees(group) for group in groups)
        for row in fill(trees, self.budget) if self.share else ([tree] for tree in trees):
            packed = pack(row)
            yield packed.pairs, reduce(self._logp(packed), packed.owner, len(packed.pairs), self.reduction)

    def _trees(self, group: Group) -> Iterator[Tree]:
        sources, targets = zip(*(self._ids(group, q) for q in group.questions), strict=True)
        pairs = [q.pair for q in group.questions]
        if self.share:
            yield grow(sources, targets, pairs)
        else:
            yield from (grow([s], [t], [p]) for s, t, p in zip(sources, targets, pairs, strict=True))

    def _ids(self, group: Group, question: Question) -> tuple[list[int], list[int]]:
        target = target_ids(self.prompt, self.lm.tokenizer, question.text, special=False)
        limit = self.limit if self.lm.context is None else min(self.limit, self.lm.context - len(target))
        if limit < 1 or not target:
            raise UsageError(
                f"the question {question.text[:60]!r} has {len(target)} tokens, the model takes {self.lm.context}",
                "use a model with a longer context",
            )
        return source_ids(self.prompt, self.lm.tokenizer, group.title, group.text, question.lang, limit), target

    @torch.inference_mode()
    def _logp(self, row: Pack) -> Tensor:
        device = self.lm.device
        ids, positions, predict, targets = (torch.from_numpy(a).to(device) for a in (row.ids, row.positions, row.predict, row.targets))
        options: dict[str, Any] = {"logits_to_keep": predict} if self._keeps else {}
        if self.share:
            options |= {"attention_mask": self._masks(row), "position_ids": positions[None]}
        logits = self.lm.model(input_ids=ids[None], use_cache=False, **options).logits[0]  # [m, V] or [T, V]
        return token_logp(logits if self._keeps else logits[predict], targets)

    def _masks(self, row: Pack) -> Any:
        """The block mask as the model takes it: one, or one for each kind of layer."""
        masks = {kind: self._mask(row, self._window if kind == "sliding_attention" else None) for kind in self._kinds}
        if self._kinds == {"full_attention"} and self._window and not self._typed:
            return self._mask(row, self._window)
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, row: Pack, window: int | None) -> Tensor:
        seen = torch.from_numpy(visible(row, window)).to(self.lm.device)
        lowest = torch.finfo(self.lm.model.dtype).min
        return torch.zeros(seen.shape, dtype=self.lm.model.dtype, device=self.lm.device).masked_fill(~seen, lowest)[None, None]
