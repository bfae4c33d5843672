"""log p(query | passage) one pair at a time through plain transformers calls: the slow twin of `umr.label`.

No padding, no cache, no sharing, no mask of our own; nothing of umr is imported. Templates are filled by hand.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

LANGUAGES = {"ar": "Arabic", "de": "German", "en": "English", "hi": "Hindi", "ru": "Russian", "th": "Thai", "zh": "Chinese"}

CAUSAL = "Passage: {text}\n\nQuestion in {language}:"
CAUSAL_TARGET = " {query}"
ENCODER_DECODER = "Passage:  {title} {text}. Please write a question based on this passage in {language}."
ENCODER_DECODER_TARGET = "Question: {query}"


def source(template: str, title: str, text: str, lang: str) -> str:
    """The filled template (a replacement of names, so that braces in a text stay what they are)."""
    parts = template.replace("{title}", "\0t").replace("{text}", "\0x").replace("{language}", "\0l")
    return parts.replace("\0l", LANGUAGES.get(lang, lang)).replace("\0t", title).replace("\0x", text)


def cut_source(tokenizer: Any, template: str, title: str, text: str, lang: str, limit: int) -> str:
    """The source with the longest beginning of the text, ending where one of the text's own tokens ends, that fits."""
    ends = [end for _, end in tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping]
    for end in [len(text), *reversed(ends), 0]:
        filled = source(template, title, text[:end], lang)
        if len(tokenizer(filled).input_ids) <= limit:
            return filled
    raise ValueError("even the empty passage does not fit")


@torch.inference_mode()
def causal(model: Any, tokenizer: Any, filled: str, target: str, reduction: Literal["mean", "sum"] = "mean") -> float:
    """Log-likelihood in nats of the target's tokens behind the source, no end of text."""
    head = tokenizer(filled).input_ids
    tail = tokenizer(target, add_special_tokens=False).input_ids
    logp = model(input_ids=torch.tensor([head + tail]), use_cache=False).logits[0].double().log_softmax(-1)
    values = [logp[len(head) + i - 1, token].item() for i, token in enumerate(tail)]
    return sum(values) / (len(values) if reduction == "mean" else 1)


@torch.inference_mode()
def encoder_decoder(model: Any, tokenizer: Any, filled: str, target: str, reduction: Literal["mean", "sum"] = "mean") -> float:
    """Log-likelihood in nats of the target's tokens, the end of text included: minus transformers' own loss."""
    ids = torch.tensor([tokenizer(filled).input_ids])
    labels = torch.tensor([tokenizer(target).input_ids])
    loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.item()
    return -loss * (1 if reduction == "mean" else labels.shape[1])
