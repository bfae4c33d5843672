"""Where source and target meet: tokenised apart, with the space on the side where words have it, and never without a beginning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from umr.errors import UsageError
from umr.label.prompts.prompt import CAUSAL, ENCODER_DECODER, Prompt, fit

OURS = Prompt(*CAUSAL, None)


def merging() -> Any:
    """A BPE without words: it merges the colon of a prompt with the space and the letter of what follows."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    letters = [chr(n) for n in range(32, 127)] + ["\n"]
    merges = [(":", " "), (": ", "W"), (" ", "W"), (" W", "o")]
    vocabulary = {piece: i for i, piece in enumerate(["<|endoftext|>", *letters, *("".join(m) for m in merges)])}
    made = Tokenizer(models.BPE(vocabulary, merges))
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>", clean_up_tokenization_spaces=False)


def metaspace(legacy: bool) -> Any:
    """A SentencePiece tokenizer of Llama's kind: the old conversion puts a space before a text even where there is one."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted({*"Passage:QuestioninGermanWhotherivedlk?.\n"} | {"▁", "▁▁"})
    merges = [("▁", "▁"), ("▁", "W"), ("▁W", "o")]
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "<s>", "</s>", *letters, "▁W", "▁Wo"])}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    if legacy:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def tokens(tokenizer: Any, prompt: Prompt, query: str = "Wo?") -> list[str]:
    return tokenizer.convert_ids_to_tokens(replace(prompt, tokenizer=tokenizer).target_ids("q", query))  # type: ignore[no-any-return]


def test_a_border_that_would_be_merged_stands() -> None:
    tokenizer = merging()
    source, target = (
        replace(OURS, tokenizer=tokenizer).source_ids("", "x", "de", 99),
        replace(OURS, tokenizer=tokenizer).target_ids("q", "Wo?"),
    )
    joint = tokenizer(OURS.fill("", "x", "de") + OURS.target.format(query="Wo?")).input_ids
    assert joint != source + target
    pieces = [tokenizer.convert_ids_to_tokens(ids) for ids in (source + target, joint)]
    assert "".join(pieces[0]) == "".join(pieces[1])
    assert tokenizer.convert_ids_to_tokens(source)[-1] == ":"
    assert tokens(tokenizer, OURS) == [" Wo", "?"]
    others = [replace(OURS, tokenizer=tokenizer).source_ids("", "x", "de", 99) for _ in ("Wo?", "was?")]
    assert others[0] == others[1] == source


@pytest.mark.parametrize("legacy", [True, False])
def test_a_space_of_sentencepiece_is_not_doubled(legacy: bool) -> None:
    tokenizer = metaspace(legacy)
    fitted = fit(replace(OURS, tokenizer=tokenizer))
    assert fitted.source == OURS.source
    assert fitted.target == ("{query}" if legacy else " {query}")
    assert tokens(tokenizer, fitted) == ["▁Wo", "?"]
    assert tokens(tokenizer, OURS)[0] == ("▁▁" if legacy else "▁Wo")


def test_the_tokenizers_of_other_tests_need_no_fitting() -> None:
    for tokenizer in (tiny.unigram(), tiny.byte_level(), merging()):
        assert fit(replace(OURS, tokenizer=tokenizer)) == OURS


@pytest.mark.parametrize(("source", "target"), [("{text} Q: ", "{query}"), ("{text} Q:  ", "{query} ."), ("{text} Q: ", " {query}")])
def test_a_space_behind_the_source_moves_to_the_target(source: str, target: str) -> None:
    fitted = fit(replace(Prompt(source, target, None), tokenizer=tiny.byte_level()))
    assert fitted.source == "{text} Q:"
    assert fitted.target.startswith(" ")
    assert fitted.source + fitted.target == source + target


def test_nothing_moves_where_source_and_target_do_not_meet() -> None:
    prompt = Prompt("{text}: ", " {query}", None)
    assert fit(replace(prompt, tokenizer=metaspace(legacy=True), encoder_decoder=True)) == replace(prompt, encoder_decoder=True)
    assert fit(Prompt(*ENCODER_DECODER, tiny.unigram(bos=False, eos=True), True)) == Prompt(*ENCODER_DECODER, None, True)
    lines = Prompt("{text}\n", "{query}", None)
    assert fit(replace(lines, tokenizer=tiny.byte_level())) == lines


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("maker", [tiny.unigram, tiny.byte_level])
def test_the_side_of_padding_changes_no_token(maker: Any, side: str) -> None:
    tokenizer, plain = maker(padding_side=side), maker()
    texts = [OURS.fill("", text, "de") for text in ("x", "the river and the city", "")]
    assert replace(OURS, tokenizer=tokenizer).encode(texts) == replace(OURS, tokenizer=plain).encode(texts)
    assert [len(ids) for ids in replace(OURS, tokenizer=tokenizer).encode(texts)] == [len(tokenizer(text).input_ids) for text in texts]
    assert replace(OURS, tokenizer=tokenizer).target_ids("q", "Wo?") == replace(OURS, tokenizer=plain).target_ids("q", "Wo?")


@given(st.lists(st.text(max_size=30), max_size=6))
def test_many_sources_are_encoded_as_one_by_one(texts: list[str]) -> None:
    for tokenizer in (tiny.unigram(length=10**6), tiny.unigram(bos=False, eos=True, length=10**6), tiny.byte_level(length=10**6)):
        found = replace(OURS, tokenizer=tokenizer).encode(texts)
        assert found == [replace(OURS, tokenizer=tokenizer).encode([text])[0] for text in texts]
        assert found == [list(tokenizer(text).input_ids) or [tokenizer.bos_token_id] for text in texts]


def test_bos_that_a_template_writes_out_stands_once() -> None:
    tokenizer = tiny.unigram()
    ids = replace(Prompt("<s>{text}", "{query}", None), tokenizer=tokenizer).source_ids("", "the river", "en", 99)
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_an_empty_source_has_a_token_to_predict_from() -> None:
    bare = Prompt("{text}", "{query}", None)
    for tokenizer, beginning in ((tiny.byte_level(), 0), (merging(), 0), (tiny.unigram(), 3), (tiny.unigram(bos=False), 3)):
        assert replace(bare, tokenizer=tokenizer).source_ids("", "", "en", 9) == [beginning]
    lost = tiny.byte_level()
    lost.bos_token = lost.eos_token = None
    with pytest.raises(UsageError, match="no token to begin with") as caught:
        replace(bare, tokenizer=lost).source_ids("", "", "en", 9)
    assert "--template" in caught.value.hint
