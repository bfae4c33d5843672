"""How a language model reads a pair: which token ids come from a passage, a language and a question, and what may share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from umr.errors import UsageError
from umr.label.pack import Branch, Tree, grow
from umr.label.prompt import Prompt, source_ids, target_ids

Passage = tuple[str, str]  # title, text


@dataclass(frozen=True)
class Reading:
    """How a language model reads pairs.

    Arguments:
        prompt: the templates.
        tokenizer: a fast tokenizer of transformers.
        encoder_decoder: whether source and target go to different halves of the model.
        limit: source tokens at most.
        context: tokens that source and target may have together, or None.
    """

    prompt: Prompt
    tokenizer: Any
    encoder_decoder: bool
    limit: int
    context: int | None

    def room(self, target: int) -> int:
        """Source tokens that are left beside a target of so many tokens."""
        return self.limit if self.context is None else min(self.limit, self.context - target)

    def target(self, name: str, query: str) -> list[int]:
        """Token ids of a target.

        Arguments:
            name: id of the query, for the message.
            query: its text.

        Raises:
            UsageError: it has no tokens, or leaves no room for a source.
        """
        ids = target_ids(self.prompt, self.tokenizer, query, special=self.encoder_decoder)
        if not ids:
            raise UsageError(f"the question {name!r} ({query[:60]!r}) has no tokens", "give a --target template that has, or leave it out")
        if self.room(len(ids)) < 1:
            raise UsageError(
                f"the question {name!r} ({query[:60]!r}) has {len(ids):,} tokens, the model takes {self.context:,} with its passage",
                "use a model with a longer context, or leave the question out",
            )
        return ids

    def source(self, passage: Passage, lang: str, limit: int) -> list[int]:
        """Token ids of a source, its passage cut where it is longer than the limit.

        Raises:
            UsageError: the prompt alone is longer than the limit.
        """
        return source_ids(self.prompt, self.tokenizer, *passage, lang, limit)

    def tree(self, sources: list[list[int]], targets: list[list[int]], pairs: list[int]) -> Tree:
        """The tree of pairs that share a passage or, of an encoder-decoder, a source."""
        if not self.encoder_decoder:
            return grow(sources, targets, pairs)
        return Tree(sources[0], [Branch(p, t, len(t)) for p, t in zip(pairs, targets, strict=True)])
