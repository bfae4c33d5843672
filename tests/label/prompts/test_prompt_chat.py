"""Chat models: the prompt as a user's turn, the target as the beginning of the answer; plain text unless that is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import tiny
from umr.errors import UsageError
from umr.label.prompts.prompt import CAUSAL, Prompt, fit
from umr.label.scorers.trees import grow

OURS = Prompt(*CAUSAL, None)
TURNS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_BOS = "{{ bos_token }}{% for m in messages %}[INST] {{ m['content'] | trim }} [/INST]{% endfor %}"
BRACES = "{% for m in messages %}{{ '{role: {user}} ' }}{{ m['content'] }}{{ ' {}' }}{% endfor %}"
DATED = "{{ strftime_now('%d %B %Y') }} {{ date_string }} {{ enable_thinking }} {{ messages[0]['content'] }}"


def talking(template: str | None = TURNS, **options: Any) -> Any:
    tokenizer = tiny.unigram(length=10**6, **options)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer


def rendered(tokenizer: Any, words: str) -> str:
    """What transformers itself makes of a user's turn."""
    turn = [{"role": "user", "content": words}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("template", [TURNS, WITH_BOS, BRACES])
@pytest.mark.parametrize("text", ["the river", "", "{text} {{x}}", "city  of\nstone"])
def test_a_source_is_the_users_turn(template: str, text: str) -> None:
    tokenizer = talking(template)
    fitted = fit(replace(OURS, tokenizer=tokenizer), chat=True)
    assert fitted.chat
    assert fitted.fill("", text, "de") == rendered(tokenizer, OURS.fill("", text, "de"))
    assert fitted.target.format(query="Wo?") == "Wo?"


@pytest.mark.parametrize(("template", "bos"), [(TURNS, True), (TURNS, False), (WITH_BOS, True), (WITH_BOS, False)])
def test_bos_stands_once(template: str, bos: bool) -> None:
    """A template that writes BOS, one that does not, before a tokenizer that adds it and one that does not."""
    tokenizer = talking(template, bos=bos)
    ids = fit(replace(OURS, tokenizer=tokenizer), chat=True).source_ids("", "the river", "en", 99)
    expected = tokenizer(rendered(tokenizer, OURS.fill("", "the river", "en")), add_special_tokens=False).input_ids
    wanted = 1 if bos or template == WITH_BOS else 0
    assert ids.count(tokenizer.bos_token_id) == wanted
    assert ids[wanted:] == expected[template == WITH_BOS :]
    assert (ids[0] == tokenizer.bos_token_id) is bool(wanted)


def test_special_tokens_are_tokens_and_eos_is_not_added() -> None:
    tokenizer = talking(eos=True)
    fitted = fit(replace(OURS, tokenizer=tokenizer), chat=True)
    ids = fitted.source_ids("", "the river", "en", 99)
    names = tokenizer.convert_ids_to_tokens(ids)
    assert [names.count(name) for name in ("<|im_start|>", "<|im_end|>", "</s>")] == [2, 1, 0]
    assert fitted.target_ids("q", "the river") == tokenizer("the river", add_special_tokens=False).input_ids


def test_only_the_passage_is_cut() -> None:
    tokenizer = talking()
    fitted = fit(replace(OURS, tokenizer=tokenizer), chat=True)
    long = " ".join(["the river"] * 50)
    whole, cut = (fitted.source_ids("", long, "de", limit) for limit in (10**4, 60))
    assert len(cut) <= 60 < len(whole)
    end = tokenizer(fitted.source.split("{language}")[1], add_special_tokens=False).input_ids[1:]
    assert cut[-len(end) :] == whole[-len(end) :] == end
    with pytest.raises(UsageError, match="the prompt alone has more than 8 tokens"):
        fitted.source_ids("", long, "de", 8)


def test_the_passage_is_still_shared_by_languages() -> None:
    tokenizer = talking()
    fitted = fit(replace(OURS, tokenizer=tokenizer), chat=True)
    sources = fitted.encode([fitted.fill("", "the old bridge and the river", lang) for lang in ("de", "en", "ru")])
    tree = grow(sources, [[5], [6], [7]], [0, 1, 2])
    before = tokenizer(fitted.source.split("{text}")[0] + "the old bridge and the river", add_special_tokens=False).input_ids
    assert tree.trunk[: len(before) + 1] == [tokenizer.bos_token_id, *before]


def test_the_same_words_on_every_day() -> None:
    fitted = fit(replace(OURS, tokenizer=talking(DATED)), chat=True)
    assert fitted.source.startswith("1 January 2026 1 January 2026 False Passage:")


def test_a_chat_model_is_plain_text_unless_chat_is_asked_for() -> None:
    assert fit(replace(OURS, tokenizer=talking())) == OURS


REFUSES = "{{ raise_exception('system only') }}"
TWICE = "{{ messages[0]['content'] }} {{ messages[0]['content'] }}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "this model has no chat template"),
        (REFUSES, "cannot be used: system only"),
        (TWICE, "does not hold the user's words once"),
        ("hello", "does not hold the user's words once"),
        ("{% for %}", "cannot be used"),
    ],
)
def test_what_has_no_usable_chat_template_is_refused(template: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        fit(replace(OURS, tokenizer=talking(template)), chat=True)
    assert "--chat" in caught.value.hint


def test_an_encoder_decoder_does_not_chat() -> None:
    with pytest.raises(UsageError, match="this one is an encoder-decoder"):
        fit(replace(OURS, tokenizer=talking(), encoder_decoder=True), chat=True)
