"""What a causal model's tokenizer puts around a text: BOS where the model was trained with one, no EOS, nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from umr.label.prompts.prompt import CAUSAL, Prompt
from umr.models.lm import find_lm, load_lm
from umr.models.special_tokens import settle_special_tokens, special_tokens
from umr.progress import Silent

BOS, EOS = 3, 1


def named(bos: str | None, eos: str = "</s>", **said: Any) -> Any:
    """A tokenizer that adds nothing to a text, whose BOS is called so."""
    tokenizer = tiny.unigram(bos=False)
    tokenizer.add_special_tokens({"eos_token": eos} | ({"bos_token": bos} if bos else {}))
    if bos is None:
        tokenizer.bos_token = None
    tokenizer.init_kwargs.update(said)
    return tokenizer


@pytest.mark.parametrize(
    "family", ["llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3_text", "recurrent_gemma", "cohere2", "deepseek_v3"]
)
@pytest.mark.parametrize("bos", ["<s>", "<bos>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "<BOS_TOKEN>", "[BOS]"])
def test_families_that_need_bos_get_it_once(family: str, bos: str) -> None:
    tokenizer = named(bos)
    bare = tokenizer("the river").input_ids
    assert settle_special_tokens(tokenizer, family)
    assert tokenizer("the river").input_ids == [tokenizer.bos_token_id, *bare]
    assert tokenizer("the river", add_special_tokens=False).input_ids == bare
    assert tokenizer("").input_ids == [tokenizer.bos_token_id]
    assert not settle_special_tokens(tokenizer, family)


@pytest.mark.parametrize(
    ("family", "bos", "eos"),
    [
        ("qwen2", None, "</s>"), ("qwen2", "<s>", "</s>"), ("llama", None, "</s>"),
        ("llama", "<|im_start|>", "<|im_end|>"),  # SmolLM2
        ("llama", "<|endoftext|>", "<|endoftext|>"), ("olmo2", "<|endoftext|>", "<|endoftext|>"), ("opt", "</s>", "</s>"),
    ],
)  # fmt: skip
def test_the_others_are_left_alone(family: str, bos: str | None, eos: str) -> None:
    tokenizer = named(bos, eos)
    bare = tokenizer("the river").input_ids
    assert not settle_special_tokens(tokenizer, family)
    assert tokenizer("the river").input_ids == bare


@pytest.mark.parametrize(("family", "said", "added"), [("qwen2", True, True), ("llama", False, False), ("gemma2", False, True)])
def test_what_the_configuration_says_decides_but_for_gemma(family: str, said: bool, added: bool) -> None:
    tokenizer = named("<bos>", add_bos_token=said)
    assert settle_special_tokens(tokenizer, family) is added
    assert special_tokens(tokenizer) == ([tokenizer.bos_token_id] if added else [], [])


def test_a_tokenizer_that_adds_bos_itself_stays_as_it_is() -> None:
    tokenizer = tiny.unigram()
    before = tokenizer.backend_tokenizer.to_str()
    assert not settle_special_tokens(tokenizer, "llama")
    assert tokenizer.backend_tokenizer.to_str() == before


def test_an_eos_behind_a_text_goes() -> None:
    tokenizer = tiny.unigram(eos=True)
    assert special_tokens(tokenizer) == ([BOS], [EOS])
    assert settle_special_tokens(tokenizer, "llama")
    assert special_tokens(tokenizer) == ([BOS], [])
    other = tiny.unigram(bos=False, eos=True)
    assert settle_special_tokens(other, "qwen2")
    assert special_tokens(other) == ([], [])


def test_a_byte_level_tokenizer_keeps_its_tokens_and_offsets() -> None:
    plain, mended = tiny.byte_level(), tiny.byte_level()
    for tokenizer in (plain, mended):
        tokenizer.add_special_tokens({"bos_token": "<|begin_of_text|>"})
    assert settle_special_tokens(mended, "llama")
    for text in ("the river", " königlich", "النهر"):
        before, after = (t(text, return_offsets_mapping=True) for t in (plain, mended))
        assert after.input_ids == [mended.bos_token_id, *before.input_ids]
        assert after.offset_mapping[1:] == before.offset_mapping


@pytest.mark.parametrize("maker", ["llama", "gemma3", "mistral"])
def test_a_model_that_lost_its_bos_scores_as_the_one_that_has_it(tmp_path: Path, maker: str) -> None:
    made = [find_lm(str(getattr(tiny, maker)(tmp_path / str(bos), bos=bos)), talk) for bos, talk in ((True, Silent()), (False, Silent()))]
    whole, lost = (Prompt(*CAUSAL, files.tokenizer).source_ids("", "the river", "en", 99) for files in made)
    assert whole == lost
    assert whole.count(BOS) == 1
    assert made[0].fingerprint != made[1].fingerprint
    lm = load_lm(made[1], "fp32", torch.device("cpu"))
    assert lm.tokenizer is made[1].tokenizer


def test_mending_is_said(tmp_path: Path) -> None:
    talk = tiny.Talk()
    find_lm(str(tiny.llama(tmp_path, bos=False)), talk)
    assert "mended" in talk.said[0]
    find_lm(str(tiny.llama(tmp_path / "whole")), talk)
    find_lm(str(tiny.t5(tmp_path / "t5")), talk)
    find_lm(str(tiny.gpt2(tmp_path / "gpt2")), talk)
    assert len(talk.said) == 1
