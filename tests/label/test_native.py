"""Our own decoder gives what torch gives one pair at a time, whatever the model adds and however pairs are grouped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray

from umr.config import LabelConfig
from umr.label.causal import CausalScorer
from umr.label.native import NativeScorer, native_scorer
from umr.label.native.weights import decoder_for, knows
from umr.label.pack import Branch, Tree
from umr.models.lm import LanguageModel

SIZES: dict[str, Any] = {
    "vocab_size": 200, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip
HEAD = {"head_dim": 16}
STRETCHED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | {
    "original_max_position_embeddings": 64
}
MODELS: dict[str, Any] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, **HEAD)),
    "llama-biased-stretched": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(**SIZES, **HEAD, attention_bias=True, mlp_bias=True, rope_parameters=STRETCHED)
    ),
    "mistral-window": lambda: hf.MistralForCausalLM(hf.MistralConfig(**SIZES, **HEAD, sliding_window=9)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SIZES)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, **HEAD)),
    "gemma": lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**SIZES, **HEAD)),
    "gemma3": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**SIZES, **HEAD, sliding_window=9)),
    "gemma3-capped": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**SIZES, **HEAD, sliding_window=9, final_logit_softcapping=2.0)),
}  # fmt: skip
STRANGERS: dict[str, Any] = {
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)),
    "gemma2": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**SIZES, **HEAD)),
    "llama-gelu": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, **HEAD, hidden_act="gelu")),
    "llama-dynamic": lambda: hf.LlamaForCausalLM(
        hf.LlamaConfig(**SIZES, **HEAD, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    ),
}  # fmt: skip


def made(name: str) -> Any:
    torch.manual_seed(3)
    model = (MODELS | STRANGERS)[name]().eval()
    for parameter in model.parameters():  # biases and norms are not what a model begins with
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def trees(seed: int) -> list[Tree]:
    rng = np.random.default_rng(seed)

    def draw(n: int) -> list[int]:
        return rng.integers(5, 25, n).tolist()  # few ids, so that branches share beginnings

    shapes = [(40, 5), (1, 3), (7, 1), (90, 9)]
    return [Tree(draw(n), [Branch(b, draw(int(rng.integers(2, 12))), 1 + b % 2) for b in range(k)]) for n, k in shapes]


def alone(model: Any, some: list[Tree], reduction: Any) -> NDArray[np.float32]:
    return CausalScorer(LanguageModel(model, None, False, "x", "fp32", None), reduction, share=False).score(some)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_scores_are_those_of_one_pair_at_a_time(name: str, reduction: Any) -> None:
    model, some = made(name), trees(1)
    assert knows(model)
    found = NativeScorer(model, decoder_for(model, "fp32"), reduction).score(some)
    np.testing.assert_allclose(found, alone(model, some, reduction), atol=5e-6 * (11 if reduction == "sum" else 1))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_score_has_the_same_bytes_in_any_company(precision: str) -> None:
    model, some = made("gemma3"), trees(2)
    scorer = NativeScorer(model, decoder_for(model, precision), "mean")
    whole = scorer.score(some)
    for tree, scores in zip(some, np.split(whole, np.cumsum([len(t.branches) for t in some])[:-1]), strict=True):
        np.testing.assert_array_equal(scorer.score([tree]), scores)
        for branch, score in zip(tree.branches, scores, strict=True):
            np.testing.assert_array_equal(scorer.score([Tree(tree.trunk, [branch])]), [score])
    assert scorer.score([]).shape == (0,)


@pytest.mark.parametrize("name", MODELS)
def test_bf16_is_near(name: str) -> None:
    model, some = made(name), trees(3)
    found = NativeScorer(model, decoder_for(model, "bf16"), "mean").score(some)
    np.testing.assert_allclose(found, alone(model, some, "mean"), atol=0.02)


def test_weights_in_bf16_are_taken_as_they_are() -> None:
    model, some = made("llama"), trees(4)
    model = model.to(torch.bfloat16)
    exact = alone(model.float(), some, "mean")
    found = NativeScorer(model, decoder_for(model.to(torch.bfloat16), "fp32"), "mean").score(some)
    np.testing.assert_allclose(found, exact, atol=5e-6)


@pytest.mark.parametrize("name", STRANGERS)
def test_models_of_another_make_are_left_to_torch(name: str) -> None:
    model = made(name)
    assert not knows(model)
    lm = LanguageModel(model, None, False, "x", "fp32", None)
    assert native_scorer(lm, LabelConfig("x"), trees(1)) is None


def test_the_cost_is_that_of_torch() -> None:
    model, some = made("gemma3"), trees(5)
    lm = LanguageModel(model, None, False, "x", "fp32", None)
    native = NativeScorer(model, decoder_for(model, "fp32"), "mean")
    assert native.flops(some) == CausalScorer(lm, "mean").flops(some)
    assert native.bytes_per_token > 0
