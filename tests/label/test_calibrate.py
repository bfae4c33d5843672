"""What calibration does to a product leaves it what it was, rounds it better, and is written and read whole."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from reference import gptq as twin
from tiny import Talk
from umr._rust import Linear
from umr.errors import InputError, ScoreError, StorageError, UsageError
from umr.label.causal import CausalScorer
from umr.label.native import NativeScorer
from umr.label.native.calibrate import calibrate
from umr.label.native.gptq import DAMP, compensated, nearest, units_of
from umr.label.native.inputs import Inputs
from umr.label.native.smooth import best_smoothing, columns, smoothing, turn, turn_moments
from umr.label.native.storage import load_recipe, save_recipe
from umr.label.native.weights import Recipe, decoder_for, products
from umr.label.pack import Branch, Tree
from umr.models.lm import LanguageModel
from umr.progress import Silent

SIZES: dict[str, Any] = {
    "vocab_size": 160, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip
HEAD = {"head_dim": 32}
MODELS: dict[str, Any] = {
    "llama": lambda more: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES | HEAD | more, attention_bias=True, mlp_bias=True)),
    "mistral": lambda more: hf.MistralForCausalLM(hf.MistralConfig(**SIZES | HEAD | more, sliding_window=2)),
    "qwen2": lambda more: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SIZES | more)),
    "qwen3": lambda more: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES | HEAD | more)),
    "gemma": lambda more: hf.GemmaForCausalLM(hf.GemmaConfig(**SIZES | HEAD | more)),
    "gemma3": lambda more: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**SIZES | HEAD | more, sliding_window=9)),
}  # fmt: skip
PRODUCTS = {(layer, name) for layer in range(2) for name in ("qkv", "out", "gate_up", "down")} | {(2, "head")}
BEGINNING = [1, 2, 3]


def made(name: str, **more: Any) -> Any:
    torch.manual_seed(5)
    model = MODELS[name](more).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def texts(seed: int = 0, count: int = 6) -> tuple[list[list[int]], list[int]]:
    rng = np.random.default_rng(seed)
    return [BEGINNING + rng.integers(5, 160, int(rng.integers(20, 60))).tolist() for _ in range(count)], [8] * count


def trees(seed: int = 7) -> list[Tree]:
    rng = np.random.default_rng(seed)
    branches = [Branch(number, rng.integers(5, 160, 9).tolist(), 8) for number in range(6)]
    return [Tree(BEGINNING + rng.integers(5, 160, 30).tolist(), branches) for _ in range(2)]


def exact(model: Any) -> NDArray[np.float32]:
    return CausalScorer(LanguageModel(model, None, False, "x", "fp32", None), "mean", share=False).score(trees())


def score(model: Any, recipe: Recipe | None, precision: str = "int8") -> NDArray[np.float32]:
    ids = recipe.ids if recipe else ()
    return NativeScorer(model, decoder_for(model, precision, recipe), "mean", ids).score(trees())


@cache
def strained() -> Any:
    """A model with a few channels of large inputs before every product, whose weights make good for them."""
    model = made("llama")
    wide, inner = torch.ones(128), torch.ones(256)
    wide[[3, 40, 77]], inner[[9, 200]] = torch.tensor([200.0, -120.0, 80.0]), torch.tensor([150.0, -90.0])
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        layer.input_layernorm.weight.data *= wide
        layer.post_attention_layernorm.weight.data *= wide
        for module in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            module.weight.data /= wide
        for parameter in (mlp.up_proj.weight, mlp.up_proj.bias):
            parameter.data *= inner.view(-1, *[1] * (parameter.ndim - 1))
        mlp.down_proj.weight.data /= inner
    model.model.norm.weight.data *= wide
    model.lm_head.weight.data /= wide
    return model


@cache
def found() -> Recipe:
    return calibrate(strained(), *texts(), Silent())


def inputs(seed: int, width: int, rows: int = 200) -> tuple[Inputs, Tensor]:
    """Inputs that depend on each other, two of them large."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, 24, generator=generator) @ torch.randn(24, width, generator=generator)
    states = states / 5 + 0.3 * torch.randn(rows, width, generator=generator)
    states[:, [1, width - 2]] *= 60
    seen = Inputs(width, 1)
    seen.add(states)
    return seen, states


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.8])
def test_smoothing_and_turning_leave_the_product_as_it_was(exponent: float) -> None:
    seen, states = inputs(0, 256)
    weights = torch.randn(40, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).float()
    factors = smoothing(seen.largest, columns([weights]), exponent)
    np.testing.assert_allclose(factors.log().mean(), 0, atol=1e-6)
    right = states.double() @ weights.double().T
    got = turn(states / factors).double() @ turn(weights * factors).double().T
    np.testing.assert_allclose(got, right, atol=2e-6 * float(right.abs().max()))


def test_turning_is_what_the_core_does() -> None:
    seen, states = inputs(1, 256, rows=30)
    weights = torch.randn(70, 256, generator=torch.Generator().manual_seed(2)) / 40
    factors = smoothing(seen.largest, columns([weights]), 0.5)
    head = Linear("f32", [turn(weights * factors).numpy()], smooth=(1 / factors).tolist(), turned=True)
    rows, targets = torch.arange(30), torch.arange(30) * 2
    got = head.target_logp(states.numpy(), rows.numpy(), targets.numpy())
    np.testing.assert_allclose(got, (states @ weights.T).log_softmax(1)[rows, targets], atol=2e-4)


def test_moments_are_those_of_what_is_turned() -> None:
    seen, states = inputs(2, 256)
    factors = torch.rand(256, generator=torch.Generator().manual_seed(3)) + 0.5
    turned = turn(states / factors).double()
    right = torch.stack([part.T @ part for part in turned.split(128, dim=1)])
    np.testing.assert_allclose(turn_moments(seen.moments, factors), right, rtol=1e-3, atol=1e-4 * float(right.abs().max()))


def test_the_search_is_no_worse_than_no_smoothing() -> None:
    seen, _ = inputs(3, 128)
    weights = [torch.randn(n, 128, generator=torch.Generator().manual_seed(n)) for n in (20, 30)]
    assert not torch.equal(best_smoothing(seen, weights), torch.ones(128))


@settings(max_examples=25)
@given(seed=st.integers(0, 2**20), groups=st.integers(1, 3), size=st.sampled_from([1, 4, 16, 20]), rank=st.integers(0, 30))
def test_compensation_is_that_of_its_twin(seed: int, groups: int, size: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((3, groups * size))
    states = rng.standard_normal((groups, rank + 1, size)) * rng.lognormal(0, 1, size)
    moments = states.transpose(0, 2, 1) @ states
    units = units_of(torch.from_numpy(weights), size)
    got = compensated(torch.from_numpy(weights), units, torch.from_numpy(moments))
    np.testing.assert_array_equal(got, twin.compensated(weights, units.numpy(), moments, DAMP))


def test_without_inputs_compensation_is_rounding() -> None:
    weights = torch.randn(5, 256, generator=torch.Generator().manual_seed(0))
    units = units_of(weights, 128)
    assert torch.equal(compensated(weights, units, torch.zeros(2, 128, 128)), nearest(weights, units))


def test_compensated_codes_are_nearer_than_rounded_ones() -> None:
    seen, states = inputs(4, 256)
    weights = torch.randn(64, 256, generator=torch.Generator().manual_seed(4))
    units = units_of(weights, 128)

    def error(codes: Tensor) -> float:
        gone = (codes.view(64, 2, 128) * units[..., None]).view(64, 256) - weights
        return sum(float((states[:, part] @ gone[:, part].T).square().sum()) for part in (slice(0, 128), slice(128, 256)))

    assert error(compensated(weights, units, seen.moments)) < 0.5 * error(nearest(weights, units))


def test_kept_rows_are_spread_and_few() -> None:
    seen = Inputs(128, sequences=16)
    for start in (0, 500, 1000):
        seen.add(torch.arange(start, start + 400).float()[:, None].expand(400, 128))
    seen.add(torch.empty(0, 128))
    assert seen.rows.shape == (48, 128)
    assert seen.rows[[0, 15, 16, -1], 0].tolist() == [0, 399, 500, 1399]


# ---------------------------------------------------------------- whole


@pytest.mark.parametrize("name", MODELS)
def test_models_of_every_make_are_calibrated(name: str) -> None:
    model = made(name)
    recipe = calibrate(model, *texts(), Silent())
    assert set(recipe.sites) == PRODUCTS == set(products(model))
    np.testing.assert_allclose(score(model, recipe), exact(model), atol=0.02)


def test_outlying_channels_do_much_less_harm() -> None:
    right = exact(strained())
    plain, got = (np.abs(score(strained(), recipe) - right).mean() for recipe in (None, found()))
    assert got < plain / 10


def test_statistics_are_those_of_the_products_inputs() -> None:
    from umr.label.native.inputs import gather

    model, (sequences, counts) = made("qwen3"), texts(count=2)
    every = products(model)
    with Silent().bar("", 1, "") as bar, torch.no_grad():
        seen = gather(model, every, sequences, counts, 3, bar)
        whole = [model.model(input_ids=torch.tensor([ids]), output_hidden_states=True) for ids in sequences]
    first = torch.cat([model.model.layers[0].input_layernorm(one.hidden_states[0])[0, 3:-1] for one in whole])
    last = torch.cat([one.last_hidden_state[0, -9:-1] for one in whole])
    for place, states in (((0, "qkv"), first), ((2, "head"), last)):
        np.testing.assert_allclose(seen[place].largest, states.abs().amax(0).detach(), atol=1e-5)
        np.testing.assert_allclose(seen[place].moments[0], (states.T @ states).detach(), atol=1e-3)
    assert not any(module._forward_pre_hooks for modules in every.values() for module in modules)


@pytest.mark.parametrize("name", ["mistral", "gemma3", "llama"])
def test_keys_and_values_of_the_prefix_are_exact(name: str) -> None:
    model = made(name)
    recipe = calibrate(model, *texts(), Silent())
    assert recipe.ids == tuple(BEGINNING)
    assert [part.shape for pair in recipe.prefix for part in pair] == [(3, 64)] * 4
    scorer = NativeScorer(model, decoder_for(model, "fp32", recipe), "mean", recipe.ids)
    np.testing.assert_allclose(scorer.score(trees()), exact(model), atol=5e-6)
    scorer._table = scorer._table.clone()
    scorer._table[BEGINNING] = 1.0  # no other token is any of these, so all that they say is in the prefix
    np.testing.assert_allclose(scorer.score(trees()), exact(model), atol=5e-6)


def test_the_prefix_is_what_all_sources_begin_with() -> None:
    model = made("qwen2")
    assert calibrate(model, [[1, 2, 9, 9, 9, 9], [1, 2, 8, 8, 8, 8]], [1, 1], Silent()).ids == (1, 2)
    assert calibrate(model, [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7]], [4, 5], Silent()).ids == (1,)
    other = calibrate(model, [[1, 2, 3, 4], [5, 2, 3, 4]], [1, 1], Silent())
    assert (other.ids, other.prefix) == ((), [])
    assert np.isfinite(score(model, other)).all()


def test_products_that_cannot_be_turned_stay_bf16() -> None:
    model = made("llama", intermediate_size=200)
    recipe = calibrate(model, *texts(), Silent())
    assert set(recipe.sites) == PRODUCTS - {(0, "down"), (1, "down")}
    np.testing.assert_allclose(score(model, recipe), exact(model), atol=0.02)
    narrow = made("llama", hidden_size=64, num_attention_heads=2, num_key_value_heads=1, intermediate_size=72)
    recipe = calibrate(narrow, *texts(), Silent())
    assert not recipe.sites
    np.testing.assert_allclose(score(narrow, recipe), score(narrow, None, "bf16"), atol=0.02)


def test_what_cannot_calibrate() -> None:
    model = made("qwen2")
    for sequences, targets in (([], []), ([[1, 2]], []), ([[1, 2]], [2]), ([[1, 2]], [0])):
        with pytest.raises(UsageError, match="targets"):
            calibrate(model, sequences, targets, Silent())
    model.model.layers[1].mlp.up_proj.weight.data[3] = torch.inf
    with pytest.raises(ScoreError, match="product down of layer 1") as caught:
        calibrate(model, *texts(), Silent())
    assert "--precision" in caught.value.hint


# ---------------------------------------------------------------- files


def test_a_recipe_is_the_same_made_again_and_read_again(tmp_path: Path) -> None:
    for number, recipe in enumerate((found(), calibrate(strained(), *texts(), Talk()))):
        save_recipe(tmp_path / str(number), recipe)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
    read = load_recipe(tmp_path / "0")
    assert read.ids == found().ids
    np.testing.assert_array_equal(score(strained(), read), score(strained(), found()))
    save_recipe(tmp_path / "0", read)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_codes_come_back_from_the_weights() -> None:
    for site in found().sites.values():
        assert torch.equal(nearest(site.weights(), site.units), site.codes)


def test_a_torn_or_foreign_file_is_told_of(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "recipe.safetensors"
    with pytest.raises(InputError, match="recipe"):
        load_recipe(path)
    save_recipe(path, found())
    whole = path.read_bytes()
    foreign = tmp_path / "foreign"
    save_file({"x": torch.zeros(2)}, foreign)
    damaged = [whole[:-1], whole[:300], b"", whole.replace(b"int8 recipe", b"int9 recipe"), foreign.read_bytes()]
    damaged += [whole.replace(b'"0.qkv.units"', b'"0.qkv.unity"'), whole.replace(rb"\"0.qkv\": 128", rb"\"0.qkv\": 256")]
    for some in damaged:
        assert some != whole
        path.write_bytes(some)
        with pytest.raises(StorageError) as caught:
            load_recipe(path)
        assert "remove it" in caught.value.hint
