"""What a good engineer writes in an afternoon: whole pairs sorted by length, padded, logits at the targets alone.

And the loop of the reference and its peers: a few pairs at a time in the order they come, logits of every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TOKENS = 2048  # of a batch, padding included

Pair = tuple[list[int], list[int]]  # token ids of source and target


def padded_scores(model: Any, pairs: Sequence[Pair], tokens: int = TOKENS) -> list[float]:
    """Mean log-likelihood in nats of each target.

    Arguments:
        model: a causal language model of transformers.
        pairs: token ids.
        tokens: of a batch, padding included.
    """
    scores = [0.0] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda n: -len(pairs[n][0]) - len(pairs[n][1]))
    start = 0
    while start < len(order):
        longest = sum(map(len, pairs[order[start]]))
        batch = order[start : start + max(1, tokens // longest)]
        for number, score in zip(batch, _score(model, [pairs[n] for n in batch], longest), strict=True):
            scores[number] = score
        start += len(batch)
    return scores


def loop_scores(model: Any, pairs: Sequence[Pair], batch: int = 4) -> list[float]:
    """Mean log-likelihood in nats of each target, as the reference computes it: `batch` pairs at a time, all logits."""
    import torch

    scores = []
    for at in range(0, len(pairs), batch):
        some = pairs[at : at + batch]
        ids, mask = _inputs(model, some, max(len(s) + len(t) for s, t in some))
        with torch.inference_mode():
            logp = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
        for row, (source, target) in enumerate(some):
            places = torch.arange(len(source) - 1, len(source) + len(target) - 1)
            scores.append(float(logp[row, places, torch.tensor(target)].mean()))
    return scores


def _inputs(model: Any, pairs: Sequence[Pair], longest: int) -> tuple[Any, Any]:
    import torch

    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (source, target) in enumerate(pairs):
        ids[row, : len(source) + len(target)] = torch.tensor(source + target)
        mask[row, : len(source) + len(target)] = 1
    return ids.to(model.device), mask.to(model.device)


def _score(model: Any, pairs: list[Pair], longest: int) -> list[float]:
    import torch

    ids, mask = _inputs(model, pairs, longest)
    with torch.inference_mode():
        states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        wanted = [states[n, len(s) - 1 : len(s) + len(t) - 1] for n, (s, t) in enumerate(pairs)]
        logp = model.get_output_embeddings()(torch.cat(wanted)).float().log_softmax(-1)
        wanted_ids = torch.tensor([token for _, t in pairs for token in t]).to(logp.device)
        taken = logp.gather(1, wanted_ids[:, None])[:, 0].cpu()
        return [float(part.mean()) for part in taken.split([len(t) for _, t in pairs])]
