"""What a language model reads: the passage, the request for a question, and the question whose likelihood is taken.

Sources: the paper's prompt (reference `UMR/rerank`, T5), and for causal models one that puts the passage first and the
language after it, so that queries in several languages share the passage.

Source and target are always tokenised apart: the tokens of a source do not depend on the query, so that it can be shared.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label.prompts.chat import in_chat
from umr.label.scorers.trees import Branch, Tree, grow
from umr.languages import language_name
from umr.models.lm import LanguageModel
from umr.models.tokenizers import head, longest_text, many_ids, tokenised

CAUSAL = ("Passage: {text}\n\nQuestion in {language}:", " {query}")
ENCODER_DECODER = (
    "Passage:  {title} {text}. Please write a question based on this passage in {language}.",
    "Question: {query}",
)
FIELDS = {"source": {"title", "text", "language"}, "target": {"query"}}


@dataclass(frozen=True)
class Prompt:
    """How one language model reads pairs.

    Arguments:
        source: template with `{text}`, and perhaps `{title}` and `{language}`.
        target: template with `{query}`.
        tokenizer: a fast tokenizer of transformers.
        encoder_decoder: whether source and target go to different halves of the model.
        limit: source tokens at most.
        context: tokens that source and target may have together, or None.
        chat: whether the source holds the special tokens of a chat by name, so that the tokenizer adds none.
    """

    source: str
    target: str
    tokenizer: Any = field(repr=False, compare=False)
    encoder_decoder: bool = False
    limit: int = 512
    context: int | None = None
    chat: bool = False

    def __post_init__(self) -> None:
        _check("source", self.source, "text")
        _check("target", self.target, "query")

    def fill(self, title: str, text: str, lang: str) -> str:
        """The source text of a passage for queries in a language (a code); far more than the limit's tokens can hold is cut off."""
        title, text = head(title, self.limit), head(text, self.limit)
        return self.source.format(title=title, text=text, language=language_name(lang))

    def room(self, target: int) -> int:
        """Source tokens that are left beside a target of so many tokens."""
        return self.limit if self.context is None else min(self.limit, self.context - target)

    def encode(self, filled: Sequence[str]) -> list[list[int]]:
        """Token ids of filled sources, special tokens included.

        Arguments:
            filled: texts of `fill`.

        Returns:
            ids of each text: BOS once at the beginning where the tokenizer puts one before a text, and at least one token.

        Raises:
            UsageError: a text without a token, and a tokenizer without a token to begin with.
        """
        begin = tokenised(self.tokenizer, "").input_ids[:1]
        bos = self.tokenizer.bos_token_id if begin and begin[0] == self.tokenizer.bos_token_id else None
        return [self._begun(ids, bos) for ids in many_ids(self.tokenizer, filled, special=not self.chat)]

    def _begun(self, ids: list[int], bos: int | None) -> list[int]:
        if bos is None:
            return ids or [_any_beginning(self.tokenizer)]
        written = next((at for at, token in enumerate(ids) if token != bos), len(ids))  # a template may hold BOS too
        return [bos, *ids[written:]]

    def source_ids(self, title: str, text: str, lang: str, limit: int) -> list[int]:
        """Token ids of one source, as `sources` makes them."""
        return self.sources([(title, text)], [lang], [limit])[0]

    def sources(self, passages: Sequence[tuple[str, str]], langs: Sequence[str], limits: Sequence[int]) -> list[list[int]]:
        """Token ids of sources; what is too long is cut from the end of the passage's text. All are tokenised together.

        Arguments:
            passages: title and text of each.
            langs: language code of the query of each.
            limits: tokens of each at most.

        Raises:
            UsageError: the prompt alone is longer than the limit.
        """
        found = self.encode([self.fill(*passage, lang) for passage, lang in zip(passages, langs, strict=True)])
        long = [n for n, ids in enumerate(found) if len(ids) > limits[n]]
        texts = {n: head(passages[n][1], self.limit) for n in long}
        ends = self._token_ends(list(texts.values()))
        keep = {n: len(ends[text]) for n, text in texts.items()}  # tokens of the text
        while long:
            for n in long:
                keep[n] -= max(1, len(found[n]) - limits[n])
                if keep[n] < 0:
                    raise UsageError(
                        f"the prompt alone has more than {limits[n]} tokens in {language_name(langs[n])}",
                        "shorten the template, or raise source_length under [label] of a run file (--config)",
                    )
            cut = [texts[n][: ends[texts[n]][keep[n] - 1] if keep[n] else 0] for n in long]
            again = self.encode([self.fill(passages[n][0], text, langs[n]) for n, text in zip(long, cut, strict=True)])
            for n, ids in zip(long, again, strict=True):
                found[n] = ids
            long = [n for n in long if len(found[n]) > limits[n]]
        return found

    def _token_ends(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """Where each token of a text ends, in characters."""
        unique = list(dict.fromkeys(texts))
        encoded = tokenised(self.tokenizer, unique, add_special_tokens=False, return_offsets_mapping=True) if unique else None
        return {text: [end for _, end in spans] for text, spans in zip(unique, encoded.offset_mapping if encoded else [], strict=True)}

    def target_ids(self, name: str, query: str) -> list[int]:
        """Token ids of a target; of an encoder-decoder with what its tokenizer ends a text with.

        Arguments:
            name: id of the query, for the message.
            query: its text.

        Raises:
            UsageError: it has no tokens, or leaves no room for a source.
        """
        longest = longest_text(self.context or self.limit)
        if len(query) > longest:
            raise UsageError(
                f"the query {name!r} ({query[:60]!r}) has {len(query):,} characters, the model takes {longest:,}",
                "leave the query out",
            )
        ids = list(tokenised(self.tokenizer, self.target.format(query=query), add_special_tokens=self.encoder_decoder).input_ids)
        if not ids:
            raise UsageError(f"the query {name!r} ({query[:60]!r}) has no tokens", "give a --target template that has, or leave it out")
        if self.room(len(ids)) < 1:
            raise UsageError(
                f"the query {name!r} ({query[:60]!r}) has {len(ids):,} tokens, the model takes {self.context:,} with its passage",
                "use a model with a longer context, or leave the query out",
            )
        return ids

    def tree(self, sources: list[list[int]], targets: list[list[int]], pairs: list[int]) -> Tree:
        """The tree of pairs that share a passage or, of an encoder-decoder, a source."""
        if not self.encoder_decoder:
            return grow(sources, targets, pairs)
        return Tree(sources[0], [Branch(p, t, len(t)) for p, t in zip(pairs, targets, strict=True)])


def prompt_for(lm: LanguageModel, config: LabelConfig) -> Prompt:
    """The prompt of a language model, fitted to its tokenizer.

    Arguments:
        lm: the model, found.
        config: `template`, `target`, `chat` and `source_length` decide.

    Raises:
        UsageError: a template that is not well formed; chat for a model that has no chat template.
    """
    source, target = ENCODER_DECODER if lm.encoder_decoder else CAUSAL
    plain = Prompt(
        config.template or source, config.target or target, lm.tokenizer, lm.encoder_decoder, config.source_length, lm.context
    )  # fmt: skip
    return fit(plain, config.chat)


def fit(prompt: Prompt, chat: bool = False) -> Prompt:
    """The prompt as its model is to read it.

    A space at the end of a causal source becomes the target's first character: words begin with their space. A target's space
    that the tokenizer puts there by itself (Llama 2, Mistral 7B) is left to it. Other borders that a tokenizer would merge stand.

    Arguments:
        prompt: the templates as the user gave them; those of an encoder-decoder stay.
        chat: put the source into the model's chat template; the target then begins the answer, without a space.

    Raises:
        UsageError: chat was asked of a model that has no chat template.
    """
    if prompt.encoder_decoder:
        if chat:
            raise UsageError("--chat is for causal models, this one is an encoder-decoder", "leave --chat out")
        return prompt
    if chat:
        return replace(prompt, source=in_chat(prompt.source, prompt.tokenizer), target=prompt.target.lstrip(), chat=True)
    source = prompt.source.rstrip(" ")
    target = prompt.source[len(source) :] + prompt.target
    spare = target.startswith(" ") and _doubles_spaces(prompt.tokenizer)
    return replace(prompt, source=source, target=target[1:] if spare else target)


def _doubles_spaces(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a space before a text even where there is one."""
    bare, spaced = (tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False).input_ids) for text in ("a", " a"))
    return "".join(bare).startswith("\u2581") and bare != spaced


def _check(what: str, template: str, needed: str) -> None:
    try:
        fields = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UsageError(f"the {what} template {template!r} is not well formed: {error}", "write a literal brace twice: {{") from error
    names = {name for _, name, _, _ in fields}
    if needed not in names or names - FIELDS[what] or any(form or conversion for _, _, form, conversion in fields):
        allowed = ", ".join("{" + n + "}" for n in sorted(FIELDS[what]))
        raise UsageError(f"the {what} template {template!r} needs {{{needed}}} and may hold {allowed}", "see `umr label --help`")


def _any_beginning(tokenizer: Any) -> int:
    """What stands before a target where the source is empty: a first token has to be predicted from something."""
    for number in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if number is not None:
            return int(number)
    raise UsageError("an empty prompt has no token to begin with", "give a --template with more than the passage")
