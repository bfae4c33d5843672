"""Token ids of many sources: a passage is tokenised once, and the end of the prompt, which names the language, once a language.

A tokenizer may merge across any border, so that the end is taken apart only where a sample of passages shows that it makes no
difference; elsewhere every (passage, language) is tokenised whole. What is too long goes through `prompt.source_ids`.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from umr.label.prompt import Prompt, encode_sources
from umr.label.reading import Passage

Tails = dict[str, list[int]]
SAMPLE = 48  # passages
BETWEEN = 8  # characters between the passage and the language that keep the one's ending from the other


class Sources:
    """Tokenises sources that are not cut.

    Arguments:
        prompt: the templates.
        tokenizer: a fast tokenizer of transformers.
        tails: token ids that each language's source ends with behind what all have in common, or None to tokenise whole.
    """

    def __init__(self, prompt: Prompt, tokenizer: Any, tails: Tails | None = None) -> None:
        self.prompt, self.tokenizer, self.tails = prompt, tokenizer, tails

    def ids(self, passages: Sequence[Passage], langs: Sequence[Sequence[str]]) -> list[list[int]]:
        """Token ids of passages, each in its languages.

        Arguments:
            passages: titles and texts.
            langs: for each passage the language codes it is asked in, at least one.

        Returns:
            ids of every passage's first language, then its second, and so on, passage after passage.
        """
        if self.tails is None:
            return self._whole([(p, lang) for p, codes in zip(passages, langs, strict=True) for lang in codes])
        firsts = self._whole([(p, codes[0]) for p, codes in zip(passages, langs, strict=True)])
        found: list[list[int]] = []
        for passage, codes, first in zip(passages, langs, firsts, strict=True):
            found += self._continued(passage, codes, first, self.tails)
        return found

    def _continued(self, passage: Passage, codes: Sequence[str], first: list[int], tails: Tails) -> list[list[int]]:
        tail = tails[codes[0]]
        head = first[: len(first) - len(tail)]
        if first[len(head) :] != tail:
            return self._whole([(passage, lang) for lang in codes])
        return [first, *(head + tails[lang] for lang in codes[1:])]

    def _whole(self, asked: list[tuple[Passage, str]]) -> list[list[int]]:
        filled = [self.prompt.fill(title, text, lang) for (title, text), lang in asked]
        return encode_sources(self.prompt, self.tokenizer, filled)


def find_tails(sources: Sources, passages: Sequence[Passage], langs: Sequence[str]) -> Tails | None:
    """The ends of the sources by language, or None where they cannot be told from the passages.

    Arguments:
        sources: that tokenise whole.
        passages: a sample.
        langs: the codes in use.
    """
    if len(langs) < 2 or not passages or distance(sources.prompt.source) < BETWEEN:
        return None
    found = sources.ids(passages, [langs] * len(passages))
    tails: list[list[list[int]]] = []
    for start in range(0, len(found), len(langs)):
        texts = found[start : start + len(langs)]
        low, high = min(texts), max(texts)
        shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
        tails.append([text[shared:] for text in texts])
    return dict(zip(langs, tails[0], strict=True)) if all(t == tails[0] for t in tails) else None


def distance(template: str) -> int:
    """Characters of the template between the last of title and text and the first language; 0 where a passage comes behind it."""
    fields = list(string.Formatter().parse(template))
    names = [name for _, name, _, _ in fields]
    if "language" not in names:
        return 0
    first = names.index("language")
    last = max(i for i, name in enumerate(names) if name in ("title", "text"))
    return sum(len(literal) for literal, *_ in fields[last + 1 : first + 1]) if last < first else 0


def endings(passages: Sequence[Passage]) -> list[Passage]:
    """A sample of passages: of different last characters first, then the shortest and the longest."""
    by_end = {text[-1:]: (title, text) for title, text in reversed(passages)}
    by_length = sorted(passages, key=lambda passage: len(passage[1]))
    return list(dict.fromkeys([*list(by_end.values())[: SAMPLE - 8], *by_length[:4], *by_length[-4:]]))
