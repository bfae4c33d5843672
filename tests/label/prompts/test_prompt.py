"""The prompts to the letter (shared/reference.md), user templates, and what is cut where it is too long."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from reference import likelihood as twin
from umr.errors import UsageError
from umr.label.prompts.prompt import CAUSAL, ENCODER_DECODER, Prompt

PAPER, OURS = Prompt(*ENCODER_DECODER, None), Prompt(*CAUSAL, None)


def test_the_papers_prompt_to_the_letter() -> None:
    filled = PAPER.fill("Rhine", "A river.", "fi")
    assert filled == "Passage:  Rhine A river.. Please write a question based on this passage in Finnish."
    assert PAPER.fill("", "A river", "te") == "Passage:   A river. Please write a question based on this passage in Telugu."
    assert PAPER.target.format(query="Missä?") == "Question: Missä?"


def test_the_causal_prompt_to_the_letter() -> None:
    assert OURS.fill("Rhine", "A river.", "de") == "Passage: A river.\n\nQuestion in German:"
    assert OURS.target.format(query="Wo?") == " Wo?"


NAMED = {
    "ar": "Arabic", "bn": "Bengali", "fi": "Finnish", "ja": "Japanese", "ko": "Korean", "ru": "Russian", "te": "Telugu", "en": "English",
    "es": "Spanish", "km": "Khmer", "ms": "Malay", "tr": "Turkish", "sv": "Swedish", "zh": "Chinese", "de": "German", "el": "Greek",
    "hi": "Hindi", "ro": "Romanian", "th": "Thai", "vi": "Vietnamese", "sw": "Swahili", "yo": "Yoruba",
}  # fmt: skip


@pytest.mark.parametrize(("code", "name"), NAMED.items())
def test_language_names(code: str, name: str) -> None:
    assert OURS.fill("", "", code) == f"Passage: \n\nQuestion in {name}:"


@pytest.mark.parametrize("code", ["xx", "klingon", "?", "q q", "e\u0301", ""])
def test_an_unknown_code_is_used_as_it_is(code: str) -> None:
    assert OURS.fill("", "a", code) == f"Passage: a\n\nQuestion in {code}:"


def test_braces_in_a_passage_and_a_question_stay() -> None:
    assert OURS.fill("", "{title} {{x}} {0}", "en") == "Passage: {title} {{x}} {0}\n\nQuestion in English:"
    assert OURS.target.format(query="{query}{") == " {query}{"
    assert Prompt("{{{text}}}", "{query}", None).fill("", "a", "en") == "{a}"


BAD = [
    "",
    "no field",
    "{title}",
    "{text} {query}",
    "{text} {",
    "{text} }",
    "{text} {}",
    "{text} {0}",
    "{text} {lang}",
    "{text.upper}",
    "{text[0]}",
    "{text!r}",
    "{text:>9}",
    "{text:{language}}",
]


@pytest.mark.parametrize("template", BAD)
def test_a_bad_source_template_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="the source template") as caught:
        Prompt(template, "{query}", None)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("template", ["", "{text}", "{query} {text}", "{query", "{query!s}", "{query:x}"])
def test_a_bad_target_template_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="the target template"):
        Prompt("{text}", template, None)


@pytest.fixture(scope="module", params=["unigram", "unigram without <s>", "unigram with </s>", "bytes"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    made = {
        "unigram": tiny.unigram, "unigram without <s>": lambda **o: tiny.unigram(bos=False, **o),
        "unigram with </s>": lambda **o: tiny.unigram(bos=False, eos=True, **o), "bytes": tiny.byte_level,
    }  # fmt: skip
    return made[request.param](length=10**6)


LETTER = 4  # bytes of a letter at most: a byte-level tokenizer may end one letter early


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 60), st.sampled_from(sorted(tiny.WORDS)), st.booleans(), st.integers(60, 400))
def test_only_the_end_of_the_passage_is_cut(tokenizer: Any, seed: int, words: int, lang: str, titled: bool, limit: int) -> None:
    rng = random.Random(seed)
    text, title = tiny.sentence(rng, lang, words), tiny.sentence(rng, lang, 1) if titled else ""
    for prompt in (OURS, PAPER):
        empty = len(tokenizer(twin.source(prompt.source, title, "", lang)).input_ids)
        room = max(limit, empty)
        ids = replace(prompt, tokenizer=tokenizer).source_ids(title, text, lang, room)
        assert len(ids) <= room
        best = tokenizer(twin.cut_source(tokenizer, prompt.source, title, text, lang, room)).input_ids
        assert len(ids) >= len(best) - LETTER
        beginnings = (tokenizer(twin.source(prompt.source, title, text[:end], lang)).input_ids for end in range(len(text), -1, -1))
        assert ids in beginnings


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 60), st.sampled_from(sorted(tiny.WORDS)), st.integers(40, 200)), max_size=6))
def test_many_sources_are_cut_as_each_alone(tokenizer: Any, drawn: list[tuple[int, int, str, int]]) -> None:
    prompt = replace(OURS, tokenizer=tokenizer)
    passages = [("", tiny.sentence(random.Random(seed), lang, words)) for seed, words, lang, _ in drawn]
    langs, limits = [lang for *_, lang, _ in drawn], [limit for *_, limit in drawn]
    alone = [prompt.source_ids(*passage, lang, limit) for passage, lang, limit in zip(passages, langs, limits, strict=True)]
    assert prompt.sources(passages, langs, limits) == alone


def test_a_prompt_that_does_not_fit_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UsageError, match="the prompt alone has more than 8 tokens in German") as caught:
        replace(PAPER, tokenizer=tokenizer).source_ids("", "the river", "de", 8)
    assert "source_length" in caught.value.hint


def test_special_tokens_of_source_and_target() -> None:
    with_bos, with_eos = tiny.unigram(), tiny.unigram(bos=False, eos=True)
    assert replace(OURS, tokenizer=with_bos).source_ids("", "river", "en", 512)[0] == with_bos.bos_token_id
    assert replace(OURS, tokenizer=tiny.unigram(bos=False)).source_ids("", "river", "en", 512)[0] != with_bos.bos_token_id
    assert with_bos.bos_token_id not in replace(OURS, tokenizer=with_bos).target_ids("q", "river?")
    assert replace(PAPER, tokenizer=with_eos, encoder_decoder=True).target_ids("q", "river?")[-1] == with_eos.eos_token_id
