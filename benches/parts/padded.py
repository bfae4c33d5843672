"""What a good engineer writes in an afternoon: whole pairs sorted by length, padded, logits at the targets alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TOKENS = 2048  # of a batch, padding included

Pair = tuple[list[int], list[int]]  # token ids of source and target


def padded_scores(model: Any, pairs: Sequence[Pair]) -> list[float]:
    """Mean log-likelihood in nats of each target.

    Arguments:
        model: a causal language model of transformers.
        pairs: token ids.
    """
    scores = [0.0] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda n: -len(pairs[n][0]) - len(pairs[n][1]))
    start = 0
    while start < len(order):
        longest = sum(map(len, pairs[order[start]]))
        batch = order[start : start + max(1, TOKENS // longest)]
        for number, score in zip(batch, _score(model, [pairs[n] for n in batch], longest), strict=True):
            scores[number] = score
        start += len(batch)
    return scores


def _score(model: Any, pairs: list[Pair], longest: int) -> list[float]:
    import torch

    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (source, target) in enumerate(pairs):
        ids[row, : len(source) + len(target)] = torch.tensor(source + target)
        mask[row, : len(source) + len(target)] = 1
    with torch.inference_mode():
        states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        wanted = [states[n, len(s) - 1 : len(s) + len(t) - 1] for n, (s, t) in enumerate(pairs)]
        logp = model.get_output_embeddings()(torch.cat(wanted)).float().log_softmax(-1)
        taken = logp.gather(1, torch.tensor([token for _, t in pairs for token in t])[:, None])[:, 0]
        return [float(part.mean()) for part in taken.split([len(t) for _, t in pairs])]
