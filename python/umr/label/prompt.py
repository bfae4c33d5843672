"""What a language model reads: the passage, the request for a question, and the question whose likelihood is taken.

Sources: the paper's prompt (reference `UMR/rerank`, T5), and for causal models one that puts the passage first and the
language after it, so that questions in several languages share the passage.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any

from umr.errors import UsageError
from umr.languages import language_name

CAUSAL = ("Passage: {text}\n\nQuestion in {language}:", " {query}")
ENCODER_DECODER = (
    "Passage:  {title} {text}. Please write a question based on this passage in {language}.",
    "Question: {query}",
)
FIELDS = {"source": {"title", "text", "language"}, "target": {"query"}}


@dataclass(frozen=True)
class Prompt:
    """A template and the target it is followed by.

    Arguments:
        source: with `{text}`, and perhaps `{title}` and `{language}`.
        target: with `{query}`.
    """

    source: str
    target: str

    def __post_init__(self) -> None:
        _check("source", self.source, "text")
        _check("target", self.target, "query")

    def fill(self, title: str, text: str, lang: str) -> str:
        """The source text of a passage for queries in a language (a code)."""
        return self.source.format(title=title, text=text, language=language_name(lang))

    def fill_target(self, query: str) -> str:
        """The target text of a query."""
        return self.target.format(query=query)


def _check(what: str, template: str, needed: str) -> None:
    try:
        fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise UsageError(f"the {what} template {template!r} is not well formed: {error}", "write a literal brace twice: {{") from error
    names = {name for _, name, _, _ in fields}
    if needed not in names or names - FIELDS[what] or any(form or conversion for _, _, form, conversion in fields):
        allowed = ", ".join("{" + n + "}" for n in sorted(FIELDS[what]))
        raise UsageError(f"the {what} template {template!r} needs {{{needed}}} and may hold {allowed}", "see `umr label --help`")


def source_ids(prompt: Prompt, tokenizer: Any, title: str, text: str, lang: str, limit: int) -> list[int]:
    """Token ids of the source, special tokens included; what is too long is cut from the end of the passage's text.

    Arguments:
        prompt: the templates.
        tokenizer: a fast tokenizer of transformers.
        title, text: of the passage.
        lang: language code of the query.
        limit: tokens at most.

    Raises:
        UsageError: the prompt alone is longer than the limit.
    """
    ids = tokenizer(prompt.fill(title, text, lang)).input_ids
    if len(ids) <= limit:
        return list(ids)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    keep = len(offsets)
    while len(ids) > limit:
        keep -= max(1, len(ids) - limit)
        if keep < 0:
            raise UsageError(
                f"the prompt alone has more than {limit} tokens in {language_name(lang)}",
                "raise --source-length, or shorten the template",
            )
        cut = offsets[keep - 1][1] if keep else 0
        ids = tokenizer(prompt.fill(title, text[:cut], lang)).input_ids
    return list(ids)


def target_ids(prompt: Prompt, tokenizer: Any, query: str, special: bool) -> list[int]:
    """Token ids of the target; `special` adds what the tokenizer ends a text with (EOS of encoder-decoders)."""
    return list(tokenizer(prompt.fill_target(query), add_special_tokens=special).input_ids)
