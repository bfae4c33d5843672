"""Scores of causal language models against one pair at a time through plain transformers calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from label.rig import trees_of
from reference import likelihood as twin
from reference import sources
from umr.label.scorers.causal import CausalScorer
from umr.label.scorers.trees import Branch, Tree, grow
from umr.progress import Silent

Loader = Callable[..., Any]
NATS = 1e-4


def expected(lm: Any, reduction: Any = "mean", seed: int = 0) -> list[float]:
    return [twin.causal(lm.model, lm.tokenizer, *pair, reduction) for pairs in sources.causal(seed) for pair in pairs]


def same(found: Any, wanted: Any, nats: float = NATS) -> None:
    assert found.dtype == np.float32
    assert found.shape == (len(wanted),)
    assert np.abs(found - np.array(wanted)).max() <= nats


MODELS = [
    ("llama", {}), ("llama", {"bos": False}), ("gemma3", {}), ("gemma3", {"window": 7, "bos": False}), ("mistral", {}),
    ("gpt2", {"positions": 1500}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), MODELS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())) or "plain")
def test_scores_equal_one_pair_at_a_time(lm: Loader, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]) -> None:
    from umr.label.scorers import causal

    model = lm(name, **options)
    wanted = expected(model)
    for row, whole in ((1, 1), (90, 300), (5000, 5000)):  # a pair a row and pass; split trees, a few rows a pass; all in one pass
        monkeypatch.setitem(causal.ROW_TOKENS, "cpu", row)
        monkeypatch.setitem(causal.PASS_TOKENS, "cpu", whole)
        for multiple in (1, 32):
            monkeypatch.setitem(causal.MULTIPLE, "cpu", multiple)
            for share in (True, False):
                same(CausalScorer(model, "mean", share).score(trees_of(model)), wanted)


@pytest.mark.parametrize("share", [True, False])
def test_a_sum_and_no_trees_at_all(lm: Loader, share: bool) -> None:
    model = lm("gemma3")
    same(CausalScorer(model, "sum", share).score(trees_of(model, 1)), expected(model, "sum", 1), 5 * NATS)
    assert CausalScorer(model, "sum", share).score([]).shape == (0,)


def test_the_rest_of_a_batch_and_its_order_change_nothing(lm: Loader) -> None:
    model = lm("gemma3")
    scorer, trees = CausalScorer(model, "mean"), trees_of(model)
    together = scorer.score(trees)
    alone = [float(scorer.score([Tree(tree.trunk, [branch])])[0]) for tree in trees for branch in tree.branches]
    same(together, alone)
    backwards = scorer.score([Tree(tree.trunk, tree.branches[::-1]) for tree in trees[::-1]])
    same(backwards[::-1], alone)


def test_a_target_right_behind_the_trunk(lm: Loader) -> None:
    """All queries are of one language: the trunk is the whole source, and its last state predicts every first token."""
    model = lm("llama")
    source, targets = sources.causal()[4][0][0], [" Fluss?", " Stein", " Fluss und Stein?"]
    head, tails = model.tokenizer(source).input_ids, [model.tokenizer(t, add_special_tokens=False).input_ids for t in targets]
    tree = grow([head] * 3, tails, [0, 1, 2])
    assert tree.trunk == head
    same(CausalScorer(model, "mean").score([tree]), [twin.causal(model.model, model.tokenizer, source, t) for t in targets])


def test_a_row_has_no_token_twice_and_the_model_makes_no_logits(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lm("llama")
    scorer, seen = CausalScorer(model, "mean"), []
    monkeypatch.setattr(model.model, "forward", None)  # the whole model is not called
    forward = scorer._base.forward
    monkeypatch.setattr(scorer._base, "forward", lambda **options: seen.append(options["input_ids"].shape) or forward(**options))
    scorer.score([Tree([5, 6, 7], [Branch(0, [8, 9, 10], 2), Branch(1, [8, 9, 11], 1), Branch(2, [12], 1)])])
    assert seen == [(1, 5)]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_head_that_is_unknown_is_the_models_own(lm: Loader, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from umr.label.scorers import causal
    from umr.label.scorers.head import OwnLogits

    monkeypatch.setattr(causal, "find_projection", lambda *_: None)
    model = lm(name, positions=1500)
    for share in (True, False):
        scorer = CausalScorer(model, "mean", share)
        assert isinstance(scorer.head, OwnLogits)
        same(scorer.score(trees_of(model)), expected(model))


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
OTHERS = [
    ("Gemma2", SMALL | {"head_dim": 8, "final_logit_softcapping": 2.0, "sliding_window": 16}, True), ("Cohere", SMALL, True),
    ("Granite", SMALL | {"logits_scaling": 8.0}, True), ("Qwen2", SMALL, True),
    ("XGLM", {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "pad_token_id": 0}, True),
    ("OPT", {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 16}, True),
    ("Phi", {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}, True),  # the head has a bias
    ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, False),
    ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, False),
]  # fmt: skip


@pytest.mark.parametrize(("family", "shape", "shares"), OTHERS, ids=[name for name, *_ in OTHERS])
def test_other_families_have_our_head_too(tmp_path: Path, family: str, shape: dict[str, Any], shares: bool) -> None:
    import torch
    import transformers

    from umr.label.scorers.head import ChunkedHead
    from umr.models.lm import find_lm, load_lm

    tokenizer = tiny.unigram()
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **shape)
    folder = tiny.save(tmp_path, config, tokenizer, "AutoModelForCausalLM", 0)
    model = load_lm(find_lm(str(folder), Silent()), "fp32", torch.device("cpu"))
    wanted = expected(model)
    alone = CausalScorer(model, "mean", share=False)
    assert isinstance(alone.head, ChunkedHead)
    same(alone.score(trees_of(model)), wanted)
    if shares:
        same(CausalScorer(model, "mean").score(trees_of(model)), wanted)


@pytest.mark.parametrize("name", ["gemma3", "llama", "gpt2"])
def test_in_bf16_the_products_of_the_body_alone_are_rounded(lm_folder: Loader, name: str) -> None:
    import torch

    from umr.label.scorers.head import ChunkedHead
    from umr.models.lm import find_lm, load_lm

    options = {"positions": 1500} if name == "gpt2" else {}
    files = find_lm(str(lm_folder(name, **options)), Silent())
    single, half = (load_lm(files, precision, torch.device("cpu")) for precision in ("fp32", "bf16"))
    for share in (True, False):
        scorer = CausalScorer(half, "mean", share)
        assert isinstance(scorer.head, ChunkedHead)
        assert scorer.head.projection.weight.dtype == torch.float32
        found = scorer.score(trees_of(half))
        same(found, expected(single), 0.3)  # wide random weights; a trained model stays far nearer
        assert np.abs(found - np.array(expected(single))).max() > 1e-4


def test_cost(lm: Loader) -> None:
    """Two layers of width 32: 4 heads and 2 of keys, 64 between; the vocabulary is the head's."""
    model = lm("llama")
    scorer = CausalScorer(model, "mean")
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64
    assert scorer.cost.body == 2 * layer
    tree = Tree([5, 6, 7], [Branch(0, [8, 9, 10], 2), Branch(1, [8, 11], 1)])  # reads 3 + 2 + 1 tokens, predicts 3
    vocabulary = model.model.config.vocab_size
    assert scorer.flops([tree]) == 2 * 2 * layer * 6 + 2 * 32 * vocabulary * 3
    assert scorer.flops([tree, tree]) == 2 * scorer.flops([tree])
    assert 0 < scorer.bytes_per_token < 1 << 20
    conv = CausalScorer(lm("gpt2", positions=1500), "mean").cost
    assert conv.body == 2 * (32 * 96 + 32 * 32 + 2 * 32 * 128)
