"""Encoder-decoder language models (the paper's mT5): each (passage, prompt) is encoded once for all of its queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import Reduction
from umr.label.scorers import REFUSALS, Scorer
from umr.label.scorers.cost import cost_of
from umr.label.scorers.cross import Encoded, decode, encode, takes_cache
from umr.label.scorers.head import AGREE, ChunkedHead, Head, OwnLogits, find_projection, reduce
from umr.label.scorers.rows import Ints, padded
from umr.label.scorers.trees import Tree
from umr.models.device import autocast
from umr.models.feeding import send
from umr.models.lm import LanguageModel

SOURCE_TOKENS = {"cpu": 4096, "cuda": 65536}  # encoded at once, padding included
TARGET_TOKENS = {"cpu": 1024, "cuda": 16384}  # decoded at once
PADDING = {"cpu": (0.02, 0.03), "cuda": (0.1, 0.15)}  # of the tokens of a chunk of sources, and of targets, at most


class EncoderDecoderScorer(Scorer):
    """Scores with an encoder-decoder; all target tokens count, EOS included (reference: labels of the whole target).

    Arguments:
        lm: the model.
        reduction: mean or sum over target tokens.
        share: whether a tree may hold several pairs; read by the stage, here it changes nothing.
    """

    def __init__(self, lm: LanguageModel, reduction: Reduction, share: bool = True) -> None:
        self.lm, self.reduction, self.share = lm, reduction, share
        config = lm.model.config
        self._start = int(config.pad_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id)
        with autocast(lm.precision, lm.device):
            self._cached = takes_cache(lm.model, self._start, 4 * AGREE[lm.precision])
        self._own = False  # whether the decoder's states go through our head; else the model makes logits
        self.head: Head = self._find_head()
        self.cost = cost_of(lm.model)

    @property
    def bytes_per_token(self) -> int:
        """Working memory that one more token in a batch takes, estimated."""
        return self.cost.bytes_per_token()

    @torch.inference_mode()
    def score(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """Score one batch.

        Arguments:
            trees: sources, each with its targets, that fit into memory together.

        Returns:
            [m] float32 nats, one a branch, in order of trees and branches.
        """
        first = np.cumsum([0, *(len(tree.branches) for tree in trees)])
        scores, found, at = np.empty(int(first[-1]), dtype=np.float32), list[Tensor](), list[Ints]()
        kind = self.lm.device.type
        with autocast(self.lm.precision, self.lm.device):
            for chunk in chunks([len(tree.trunk) for tree in trees], SOURCE_TOKENS[kind], PADDING[kind][0]):
                encoded = self._encode([trees[n].trunk for n in chunk])
                targets = [branch.ids for n in chunk for branch in trees[n].branches]
                place = np.concatenate([np.arange(first[n], first[n + 1]) for n in chunk])
                source = np.repeat(np.arange(len(chunk)), [len(trees[n].branches) for n in chunk])
                for rows in chunks([len(ids) for ids in targets], TARGET_TOKENS[kind], PADDING[kind][1]):
                    found.append(self._decode(encoded, source[rows], [targets[n] for n in rows]))
                    at.append(place[rows])
        if found:
            scores[np.concatenate(at)] = torch.cat(found).cpu().numpy()
        return scores

    def _encode(self, sources: list[list[int]]) -> Encoded:
        ids, keep = padded(sources)
        mask = None if keep.all() else send(keep.astype(np.int64), self.lm.device)
        return encode(self.lm.model, send(ids, self.lm.device), mask, self._start, self._cached)

    def _decode(self, encoded: Encoded, source: Ints, targets: list[list[int]]) -> Tensor:
        """Scores [B] of targets, each behind its source [B]."""
        labels, keep = padded(targets)
        inputs = np.concatenate([np.full_like(labels[:, :1], self._start), labels[:, :-1]], axis=1)
        arrays = (inputs, source, np.flatnonzero(keep), labels[keep], np.arange(int(keep.sum())), keep.sum(1))
        ids, rows, kept, wanted, order, counts = (send(a, self.lm.device) for a in arrays)
        states = decode(self.lm.model, ids, encoded, rows) if self._own else self._logits(ids, encoded, rows)
        states = states.flatten(0, 1).index_select(0, kept)
        return reduce(self.head.logp(states, order, wanted), counts, self.reduction)

    def _logits(self, ids: Tensor, encoded: Encoded, source: Tensor) -> Tensor:
        """Logits [B, T, V] by the model's own head."""
        from transformers.modeling_outputs import BaseModelOutput

        mask = torch.ones_like(encoded.states[..., 0], dtype=torch.long) if encoded.mask is None else encoded.mask
        outputs = BaseModelOutput(last_hidden_state=encoded.states[source])
        return self.lm.model(encoder_outputs=outputs, attention_mask=mask[source], decoder_input_ids=ids, use_cache=False).logits  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _find_head(self) -> Head:
        """Our own head where a few tokens show that it gives the model's logits, else the model's."""
        ids = torch.tensor([[self._start, 8, 9, 10]], device=self.lm.device)
        source = torch.zeros(1, dtype=torch.long, device=self.lm.device)
        try:
            with autocast(self.lm.precision, self.lm.device):
                encoded = self._encode([[5, 6, 7]])
                hidden, logits = decode(self.lm.model, ids, encoded, source)[0], self._logits(ids, encoded, source)[0]
            projection = find_projection(self.lm.model, hidden, logits, self.lm.precision)
        except REFUSALS:
            return OwnLogits()
        self._own = projection is not None
        return ChunkedHead(projection, split=self.lm.precision == "bf16") if projection is not None else OwnLogits()


def chunks(lengths: Sequence[int], budget: int, waste: float) -> Iterator[list[int]]:
    """Texts put together from the longest to the shortest; a chunk ends before it is over the budget or too much of it is padding.

    Arguments:
        lengths: tokens of each text.
        budget: tokens of a chunk at most, padding included; one text alone may have more.
        waste: share of padding in a chunk at most.
    """
    chunk: list[int] = []
    used = longest = 0
    for number in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        area = longest * (len(chunk) + 1)
        if chunk and (area > budget or area - used - lengths[number] > waste * area):
            yield chunk
            chunk, used = [], 0
        if not chunk:
            longest = lengths[number]
        chunk.append(number)
        used += lengths[number]
    if chunk:
        yield chunk
