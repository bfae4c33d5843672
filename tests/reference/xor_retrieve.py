"""R@kt as the official script computes it: every passage tokenised by NLTK, one question after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from nltk.tokenize import word_tokenize


def holds(texts: Sequence[str], answers: Sequence[str], limit: int) -> bool:
    """Whether an answer stands in the first `limit` tokens of the texts, joined by spaces."""
    tokens: list[str] = []
    for text in texts:
        tokens += word_tokenize(text)
        if len(tokens) >= limit:
            break
    joined = " ".join(tokens[:limit])
    return any(answer in joined for answer in answers)


def score(predictions: Sequence[Mapping[str, Any]], gold: Mapping[str, Sequence[str]], limit: int) -> dict[str, Any]:
    """Macro mean, and count and score by language, in percent."""
    counted: dict[str, int] = {}
    hits: dict[str, int] = {}
    for row in predictions:
        answers = [answer for answer in gold.get(row["id"], ()) if answer not in ("yes", "no")]
        if answers:
            counted[row["lang"]] = counted.get(row["lang"], 0) + 1
            hits[row["lang"]] = hits.get(row["lang"], 0) + holds(row["ctxs"], answers, limit)
    languages = {lang: {"counted": n, "score": hits[lang] / n * 100} for lang, n in counted.items()}
    return {"macro": mean(row["score"] for row in languages.values()), "languages": languages}
