"""The likelihood of one pair from its texts, by hand: templates filled by replacement, passages cut at every end of a token."""

from __future__ import annotations

from typing import Any

from reference import likelihood as twin


def cut(tokenizer: Any, template: str, title: str, text: str, lang: str, limit: int) -> str:
    """The source with the longest beginning of the text that fits, ending where one of the text's own tokens ends."""
    return twin.cut_source(tokenizer, template.replace("{{", "{").replace("}}", "}"), title, text, lang, limit)


def score(lm: Any, template: str, target: str, asked: tuple[str, str, str, str], limit: int, reduction: Any = "mean") -> float:
    """The likelihood in nats of one pair.

    Arguments:
        lm: a `LanguageModel`.
        template, target: of the prompt; the target may hold no brace but those of `{query}`.
        asked: title, text, language code and query.
        limit: source tokens at most.
        reduction: mean or sum.
    """
    title, text, lang, query = asked
    wanted = target.replace("{query}", query)
    if lm.encoder_decoder:
        return twin.encoder_decoder(lm.model, lm.tokenizer, cut(lm.tokenizer, template, title, text, lang, limit), wanted, reduction)
    room = limit if lm.context is None else min(limit, lm.context - len(lm.tokenizer(wanted, add_special_tokens=False).input_ids))
    return twin.causal(lm.model, lm.tokenizer, cut(lm.tokenizer, template, title, text, lang, room), wanted, reduction)
