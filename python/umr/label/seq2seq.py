"""Encoder-decoder language models (the paper's mT5): each (passage, prompt) is encoded once for all of its queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from umr.config import Reduction
from umr.label.likelihood import reduce, token_logp
from umr.label.prompt import Prompt, source_ids, target_ids
from umr.label.work import Group, Scored
from umr.models.lm import LanguageModel

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Source:
    """One (passage, prompt) and the targets asked of it."""

    ids: list[int]
    pairs: list[int]
    targets: list[list[int]]


class EncoderDecoderScorer:
    """Scores with an encoder-decoder; all target tokens count, EOS included (reference: labels of the whole target).

    Arguments:
        lm: the model.
        prompt: the templates.
        limit: source tokens at most.
        reduction: mean or sum over target tokens.
        budget: source tokens encoded at once, and target tokens decoded at once.
        share: encode a source once for all its queries; off goes pair by pair.
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

    def score(self, groups: Iterable[Group]) -> Iterator[Scored]:
        """Scores, a group of one passage at a time."""
        for group in groups:
            for source in self._sources(group):
                states = self._encode(source.ids)  # [1, L, d]
                for start, end in self._chunks(source.targets):
                    yield source.pairs[start:end], self._decode(states, source.targets[start:end])

    def _sources(self, group: Group) -> Iterator[_Source]:
        by_lang: dict[str, list[int]] = {}
        for number, question in enumerate(group.questions):
            by_lang.setdefault(question.lang if self.share else str(number), []).append(number)
        for numbers in by_lang.values():
            asked = [group.questions[n] for n in numbers]
            ids = source_ids(self.prompt, self.lm.tokenizer, group.title, group.text, asked[0].lang, self.limit)
            targets = [target_ids(self.prompt, self.lm.tokenizer, q.text, special=True) for q in asked]
            yield _Source(ids, [q.pair for q in asked], targets)

    def _chunks(self, targets: list[list[int]]) -> Iterator[tuple[int, int]]:
        start = 0
        for end in range(1, len(targets) + 1):
            longest = max(len(t) for t in targets[start : end + 1])
            if end == len(targets) or longest * (end + 1 - start) > self.budget:
                yield start, end
                start = end

    @torch.inference_mode()
    def _encode(self, ids: list[int]) -> Tensor:
        tokens = torch.tensor([ids], device=self.lm.device)
        return self.lm.model.get_encoder()(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _decode(self, states: Tensor, targets: list[list[int]]) -> NDArray[np.float32]:
        rows, width = len(targets), max(len(t) for t in targets)
        labels = np.zeros((rows, width), dtype=np.int64)
        mask = np.zeros((rows, width), dtype=bool)
        for row, target in enumerate(targets):
            labels[row, : len(target)] = target
            mask[row, : len(target)] = True
        ids = torch.from_numpy(labels).to(self.lm.device)
        output = self.lm.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.expand(rows, -1, -1)),
            attention_mask=torch.ones(rows, states.shape[1], dtype=torch.long, device=self.lm.device),
            decoder_input_ids=self._shifted(ids),
            use_cache=False,
        )
        keep = torch.from_numpy(mask).to(self.lm.device)
        return reduce(token_logp(output.logits[keep], ids[keep]), np.nonzero(mask)[0], rows, self.reduction)

    def _shifted(self, ids: Tensor) -> Tensor:
        start = self.lm.model.config.decoder_start_token_id
        first = torch.full_like(ids[:, :1], start if start is not None else self.lm.model.config.pad_token_id)
        return torch.cat([first, ids[:, :-1]], dim=1)
