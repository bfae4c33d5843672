"""Passages and queries in several languages for scorers of language models, as texts: filled sources, each with its targets."""

from __future__ import annotations

import random

import tiny
from reference import likelihood as twin

Asked = list[tuple[str, str]]  # (language, query)


def asked(seed: int = 0) -> list[tuple[str, str, Asked]]:
    """(title, passage, queries): short and long, shared by many and by one, in one language and in several, equal queries too."""
    rng = random.Random(seed)
    shapes = [
        ("ru", 3, ["ru", "en", "ar", "en", "en"]), ("en", 20, ["en", "de", "en"]), ("th", 25, ["th", "hi"]), ("zh", 1, ["zh"]),
        ("de", 45, ["de", "de", "zh"]), ("hi", 2, ["en", "en"]),
    ]  # fmt: skip
    made = []
    for number, (lang, words, langs) in enumerate(shapes):
        title = tiny.sentence(rng, lang, 2) if number % 2 else ""
        queries = [(code, tiny.sentence(rng, code, rng.randint(1, 9)) + "?") for code in langs]
        made.append((title, tiny.sentence(rng, lang, words), [*queries, queries[0]]))
    return made


def causal(seed: int = 0) -> list[list[tuple[str, str]]]:
    """(source, target) of each pair of each passage for a causal language model."""
    return [[(twin.source(twin.CAUSAL, title, text, lang), f" {q}") for lang, q in queries] for title, text, queries in asked(seed)]


def encoder_decoder(seed: int = 0) -> list[tuple[str, list[str]]]:
    """(source, targets) of each passage and language for an encoder-decoder."""
    made = []
    for title, text, queries in asked(seed):
        for code in dict.fromkeys(lang for lang, _ in queries):
            source = twin.source(twin.ENCODER_DECODER, title, text, code)
            made.append((source, [f"Question: {q}" for lang, q in queries if lang == code]))
    return made
