"""Weights in int8 and int4: near the whole ones, exact in what they claim, the same in any batch, and an error names the library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from reference import sources
from umr.config import LabelConfig
from umr.errors import MissingExtraError, ModelError
from umr.label import label
from umr.label.scorers.causal import CausalScorer
from umr.label.scorers.seq2seq import EncoderDecoderScorer
from umr.label.scorers.trees import Tree, grow
from umr.models import quantised
from umr.models.lm import find_lm, load_lm
from umr.models.quantised import Int8Linear
from umr.progress import Silent

CPU = torch.device("cpu")
MAKERS = {"llama": tiny.llama, "gemma3": tiny.gemma3, "mt5": tiny.mt5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = MAKERS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return of


def loaded(folder: Path, weights: Any, precision: Any = "fp32") -> Any:
    pytest.importorskip("bitsandbytes")
    return load_lm(find_lm(str(folder), Silent()), precision, CPU, weights)


def trees_of(lm: Any) -> list[Tree]:
    made = []
    for pairs in sources.causal():
        heads = [lm.tokenizer(source).input_ids for source, _ in pairs]
        made.append(grow(heads, [lm.tokenizer(t, add_special_tokens=False).input_ids for _, t in pairs], list(range(len(pairs)))))
    return made


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_stay_near_those_of_the_whole_weights(folder: Callable[[str], Path], precision: Any) -> None:
    """In int8; four bits of tiny random weights keep too little of them, and are compared layer by layer."""
    whole, small = loaded(folder("llama"), "native"), loaded(folder("llama"), "int8", precision)
    expected = CausalScorer(whole, "mean").score(trees_of(whole))
    found = CausalScorer(small, "mean").score(trees_of(small))
    assert 0 < np.abs(found - expected).max() < 0.5  # wide random weights: a trained model stays nearer
    assert np.corrcoef(found, expected)[0, 1] > 0.98


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_layer_of_four_bits_is_off_by_its_steps_at_most(folder: Callable[[str], Path], precision: Any) -> None:
    whole, small = loaded(folder("llama"), "native").model, loaded(folder("llama"), "int4", precision).model
    for name, found in small.named_modules():
        if "LinearNF4" in type(found).__name__:
            layer = whole.get_submodule(name)
            x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
            bound = (0.152 + 0.01) * layer.weight.abs().max() * x.abs().sum(1, keepdim=True)  # half of NF4's widest step, and rounding
            assert ((found(x) - layer(x)).abs() <= bound).all()


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_the_rest_of_a_batch_changes_nothing(folder: Callable[[str], Path], weights: Any, name: str) -> None:
    lm = loaded(folder(name), weights)
    scorer, trees = CausalScorer(lm, "mean"), trees_of(lm)
    alone = [float(scorer.score([Tree(tree.trunk, [branch])])[0]) for tree in trees for branch in tree.branches]
    assert np.abs(scorer.score(trees) - np.array(alone)).max() <= 1e-4
    one_by_one = CausalScorer(lm, "mean", share=False).score(trees)
    assert np.abs(one_by_one - np.array(alone)).max() <= 1e-4


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_what_is_rounded_and_what_is_not(folder: Callable[[str], Path], weights: Any) -> None:
    whole, small = (loaded(folder("llama"), w).model for w in ("native", weights))
    layers = {name: m for name, m in whole.named_modules() if type(m) is torch.nn.Linear and name != "lm_head"}
    assert len(layers) == 2 * 7
    for name, layer in layers.items():
        found = small.get_submodule(name)
        assert type(found) is not torch.nn.Linear
        if weights == "int8":
            expected = (127 * layer.weight / layer.weight.abs().amax(1, keepdim=True)).round()
            assert (found.weight.float() - expected).abs().max() <= 1  # a tie may go either way
            x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
            bound = 0.51 * found.scale * x.abs().sum(1, keepdim=True)
            assert ((found(x) - layer(x)).abs() <= bound).all()
    assert torch.equal(small.lm_head.weight, whole.lm_head.weight)
    assert torch.equal(small.model.embed_tokens.weight, whole.model.embed_tokens.weight)


def test_a_bias_is_kept() -> None:
    layer = torch.nn.Linear(16, 4)
    found = Int8Linear(torch.ones(4, 16, dtype=torch.int8), torch.full((4,), 0.5), layer.bias)
    x = torch.randn(2, 16)
    torch.testing.assert_close(found(x), 0.5 * x.sum(1, keepdim=True) + layer.bias)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_encoder_decoders_too(folder: Callable[[str], Path], weights: Any) -> None:
    lm = loaded(folder("mt5"), weights)
    scorer = EncoderDecoderScorer(lm, "mean")
    from umr.label.scorers.trees import Branch

    found = scorer.score([Tree(lm.tokenizer("the river").input_ids, [Branch(0, lm.tokenizer("Fluss?").input_ids, 2)])])
    assert np.isfinite(found).all()


def test_rounded_weights_have_a_store_of_their_own(folder: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    tiny.mined(work, k=3)
    made = [label(work, LabelConfig(lm=str(folder("llama")), precision="fp32", weights=w), force=True) for w in ("native", "int8", "int4")]
    assert len(list(work.layout.scores.glob("*/*.scores"))) == 3
    assert np.abs(made[0].scores - made[1].scores).max() > 1e-4
    assert np.abs(made[1].scores - made[2].scores).max() > 1e-4


def test_without_the_library_the_extra_is_named_before_anything_is_loaded(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    files = find_lm(str(folder("llama")), Silent())
    monkeypatch.setattr(quantised, "find_spec", lambda _: None)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", None)
    with pytest.raises(MissingExtraError, match="need the package bitsandbytes") as caught:
        load_lm(files, "fp32", CPU, "int8")
    assert "pip install 'umr[quantised]'" in caught.value.hint
    assert "--weights native" in caught.value.hint


def test_what_is_quantised_already_or_cannot_be_is_refused(folder: Callable[[str], Path]) -> None:
    pytest.importorskip("bitsandbytes")
    from types import SimpleNamespace

    model: Any = torch.nn.Sequential(torch.nn.Embedding(3, 4))
    model.config, model.get_output_embeddings = SimpleNamespace(model_type="odd"), lambda: None
    with pytest.raises(ModelError, match="a odd has no linear layers"):
        quantised.quantise(model, "int8", torch.float32)
    quantised.quantise(model, "native", torch.float32)
