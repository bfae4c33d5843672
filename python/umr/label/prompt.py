"""What a language model reads: the passage, the request for a question, and the question whose likelihood is taken.

Sources: the paper's prompt (reference `UMR/rerank`, T5), and for causal models one that puts the passage first and the
language after it, so that questions in several languages share the passage.

Source and target are tokenised apart, always: the tokens of a source do not depend on the question, else nothing could be
shared. Where a tokenizer would merge across the border the split stands, as it does in every implementation we know of;
`fit` moves the border only where the split would be one that no text has.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from umr.errors import UsageError
from umr.label.chat import in_chat
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
        chat: whether the source holds the special tokens of a chat by name, so that a tokenizer adds none.
    """

    source: str
    target: str
    chat: bool = False

    def __post_init__(self) -> None:
        _check("source", self.source, "text")
        _check("target", self.target, "query")

    def fill(self, title: str, text: str, lang: str) -> str:
        """The source text of a passage for queries in a language (a code)."""
        return self.source.format(title=title, text=text, language=language_name(lang))

    def fill_target(self, query: str) -> str:
        """The target text of a query."""
        return self.target.format(query=query)


def fit(prompt: Prompt, tokenizer: Any, encoder_decoder: bool, chat: bool = False) -> Prompt:
    """The prompt as one model is to read it.

    A space at the end of a causal source becomes the target's first character: words begin with their space. A target's space
    that the tokenizer puts there by itself (Llama 2, Mistral 7B) is left to it.

    Arguments:
        prompt: the templates as the user gave them.
        tokenizer: of the model.
        encoder_decoder: whether source and target go to different halves of the model; then neither is touched.
        chat: put the source into the model's chat template; the target then begins the answer, without a space.

    Raises:
        UsageError: chat was asked of a model that has no chat template.
    """
    if encoder_decoder:
        if chat:
            raise UsageError("--chat is for causal models, this one is an encoder-decoder", "leave --chat out")
        return prompt
    if chat:
        return replace(prompt, source=in_chat(prompt.source, tokenizer), target=prompt.target.lstrip(), chat=True)
    source = prompt.source.rstrip(" ")
    target = prompt.source[len(source) :] + prompt.target
    return replace(prompt, source=source, target=target[1:] if target.startswith(" ") and _doubles_spaces(tokenizer) else target)


def _doubles_spaces(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a space before a text even where there is one."""
    bare, spaced = (tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False).input_ids) for text in ("a", " a"))
    return "".join(bare).startswith("\u2581") and bare != spaced


def _check(what: str, template: str, needed: str) -> None:
    try:
        fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise UsageError(f"the {what} template {template!r} is not well formed: {error}", "write a literal brace twice: {{") from error
    names = {name for _, name, _, _ in fields}
    if needed not in names or names - FIELDS[what] or any(form or conversion for _, _, form, conversion in fields):
        allowed = ", ".join("{" + n + "}" for n in sorted(FIELDS[what]))
        raise UsageError(f"the {what} template {template!r} needs {{{needed}}} and may hold {allowed}", "see `umr label --help`")


def encode_sources(prompt: Prompt, tokenizer: Any, filled: Sequence[str]) -> list[list[int]]:
    """Token ids of filled sources, special tokens included.

    Arguments:
        prompt: the templates that they were filled from.
        tokenizer: a fast tokenizer of transformers.
        filled: texts of `prompt.fill`.

    Returns:
        ids of each text: BOS once at the beginning where the tokenizer puts one before a text, and never none at all.

    Raises:
        UsageError: a text without a token, and a tokenizer without a token to begin with.
    """
    if not filled:
        return []
    first = _first(tokenizer)
    return [_begun(list(ids), first, tokenizer) for ids in tokenizer(list(filled), add_special_tokens=not prompt.chat).input_ids]


def _first(tokenizer: Any) -> int | None:
    """BOS, where texts begin with it."""
    begin = tokenizer("").input_ids[:1]
    return tokenizer.bos_token_id if begin and begin[0] == tokenizer.bos_token_id else None


def _begun(ids: list[int], first: int | None, tokenizer: Any) -> list[int]:
    if first is not None:
        text = 0
        while text < len(ids) and ids[text] == first:  # a template, of a chat or the user's, may hold it too
            text += 1
        return [first, *ids[text:]]
    return ids or [_any_beginning(tokenizer)]


def _any_beginning(tokenizer: Any) -> int:
    """What stands before a target where the source is empty: a first token has to be predicted from something."""
    for number in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if number is not None:
            return int(number)
    raise UsageError("an empty prompt has no token to begin with", "give a --template with more than the passage")


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
    ids = _source(prompt, tokenizer, title, text, lang)
    if len(ids) <= limit:
        return ids
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    keep = len(offsets)
    while len(ids) > limit:
        keep -= max(1, len(ids) - limit)
        if keep < 0:
            raise UsageError(
                f"the prompt alone has more than {limit} tokens in {language_name(lang)}",
                "shorten the template, or raise source_length under [label] of a run file (--config)",
            )
        ids = _source(prompt, tokenizer, title, text[: offsets[keep - 1][1] if keep else 0], lang)
    return ids


def _source(prompt: Prompt, tokenizer: Any, title: str, text: str, lang: str) -> list[int]:
    return encode_sources(prompt, tokenizer, [prompt.fill(title, text, lang)])[0]


def target_ids(prompt: Prompt, tokenizer: Any, query: str, special: bool) -> list[int]:
    """Token ids of the target; `special` adds what the tokenizer ends a text with (EOS of encoder-decoders)."""
    return list(tokenizer(prompt.fill_target(query), add_special_tokens=special).input_ids)
