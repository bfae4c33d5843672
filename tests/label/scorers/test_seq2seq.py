"""Scores of encoder-decoders against one pair at a time through plain transformers calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from reference import likelihood as twin
from reference import sources
from umr.label.scorers.seq2seq import EncoderDecoderScorer, chunks
from umr.label.scorers.trees import Branch, Tree
from umr.progress import Silent

Loader = Callable[..., Any]
NATS = 1e-4


@pytest.fixture(scope="session")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A BART: learned positions, post-norm, a bias of its own on all logits; it starts with its end of text."""
    import torch
    from transformers import BartConfig

    from umr.models.lm import find_lm, load_lm

    tokenizer = tiny.unigram(eos=True)
    sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))}
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, "decoder_start_token_id": 1, "forced_eos_token_id": 1}
    config = BartConfig(vocab_size=len(tokenizer), d_model=32, max_position_embeddings=400, **sides, **special)
    folder = tiny.save(tmp_path_factory.mktemp("bart"), config, tokenizer, "AutoModelForSeq2SeqLM", 0)
    model = load_lm(find_lm(str(folder), Silent()), "fp32", torch.device("cpu"))
    model.model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(0))
    return model


@pytest.fixture(params=["t5", "mt5", "bart"])
def model(request: pytest.FixtureRequest, lm: Loader) -> Any:
    return request.getfixturevalue("bart") if request.param == "bart" else lm(request.param)


def trees_of(lm: Any, seed: int = 0) -> list[Tree]:
    made = []
    for source, targets in sources.encoder_decoder(seed):
        ids = [lm.tokenizer(target).input_ids for target in targets]
        made.append(Tree(lm.tokenizer(source).input_ids, [Branch(0, target, len(target)) for target in ids]))
    return made


def expected(lm: Any, reduction: Any = "mean", seed: int = 0) -> list[float]:
    asked = ((source, target) for source, targets in sources.encoder_decoder(seed) for target in targets)
    return [twin.encoder_decoder(lm.model, lm.tokenizer, source, target, reduction) for source, target in asked]


def same(found: Any, wanted: Any, nats: float = NATS) -> None:
    assert found.dtype == np.float32
    assert found.shape == (len(wanted),)
    assert np.abs(found - np.array(wanted)).max() <= nats


def test_scores_equal_one_pair_at_a_time(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from umr.label.scorers import seq2seq
    from umr.label.scorers.head import ChunkedHead

    wanted, trees = expected(model), trees_of(model)
    scorer = EncoderDecoderScorer(model, "mean")
    assert scorer._cached
    assert scorer._own
    assert isinstance(scorer.head, ChunkedHead)
    same(scorer.score(trees), wanted)
    for waste, budget in ((1.0, 5000), (0.5, 60), (0.0, 1)):  # everything padded together; some; nothing
        monkeypatch.setattr(seq2seq, "PADDING", {"cpu": (waste, waste)})
        monkeypatch.setitem(seq2seq.SOURCE_TOKENS, "cpu", budget)
        monkeypatch.setitem(seq2seq.TARGET_TOKENS, "cpu", budget)
        same(scorer.score(trees), wanted)


def test_a_model_without_a_cache_and_one_with_an_unknown_head(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from umr.label.scorers import seq2seq
    from umr.label.scorers.head import OwnLogits

    wanted, trees = expected(model), trees_of(model)
    monkeypatch.setattr(seq2seq, "PADDING", {"cpu": (0.9, 0.9)})
    monkeypatch.setattr(seq2seq, "takes_cache", lambda *_: False)
    same(EncoderDecoderScorer(model, "mean").score(trees), wanted)
    monkeypatch.setattr(seq2seq, "find_projection", lambda *_: None)
    scorer = EncoderDecoderScorer(model, "mean")
    assert isinstance(scorer.head, OwnLogits)
    same(scorer.score(trees), wanted)


def test_a_sum_and_no_trees_at_all(lm: Loader) -> None:
    scorer = EncoderDecoderScorer(lm("mt5"), "sum")
    same(scorer.score(trees_of(scorer.lm, 1)), expected(scorer.lm, "sum", 1), 10 * NATS)
    assert scorer.score([]).shape == (0,)


def test_the_rest_of_a_batch_and_its_order_change_nothing(model: Any) -> None:
    scorer, trees = EncoderDecoderScorer(model, "mean"), trees_of(model)
    alone = [float(scorer.score([Tree(tree.trunk, [branch])])[0]) for tree in trees for branch in tree.branches]
    same(scorer.score(trees), alone)
    same(scorer.score([Tree(tree.trunk, tree.branches[::-1]) for tree in trees[::-1]])[::-1], alone)


def test_a_source_is_encoded_once_and_its_keys_and_values_are_made_once(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lm("t5")
    scorer, encoded, projected = EncoderDecoderScorer(model, "mean"), [], []
    encoder, layer = model.model.get_encoder(), model.model.decoder.block[1].layer[1].EncDecAttention.k
    for module, seen in ((encoder, encoded), (layer, projected)):
        forward = module.forward

        def counting(*args: Any, forward: Any = forward, seen: list[int] = seen, **options: Any) -> Any:
            seen.append(len(options["input_ids"] if options else args[0]))
            return forward(*args, **options)

        monkeypatch.setattr(module, "forward", counting)
    trees = trees_of(model)
    scorer.score(trees)
    assert sum(encoded) == sum(projected) == len(trees) < sum(len(tree.branches) for tree in trees)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 200), st.floats(0, 0.9))
def test_chunks_hold_every_text_once_within_budget_and_waste(lengths: list[int], budget: int, waste: float) -> None:
    found = list(chunks(lengths, budget, waste))
    assert sorted(n for chunk in found for n in chunk) == list(range(len(lengths)))
    sizes = [lengths[n] for chunk in found for n in chunk]
    assert sizes == sorted(sizes, reverse=True)
    for chunk in found:
        area = max(lengths[n] for n in chunk) * len(chunk)
        assert len(chunk) == 1 or area <= budget
        assert area - sum(lengths[n] for n in chunk) <= waste * area + 1e-9


def test_in_bf16_the_products_alone_are_rounded(lm_folder: Loader) -> None:
    import torch

    from umr.label.scorers.head import ChunkedHead
    from umr.models.lm import find_lm, load_lm

    files = find_lm(str(lm_folder("mt5")), Silent())
    single, half = (load_lm(files, precision, torch.device("cpu")) for precision in ("fp32", "bf16"))
    scorer = EncoderDecoderScorer(half, "mean")
    assert isinstance(scorer.head, ChunkedHead)
    found = scorer.score(trees_of(half))
    same(found, expected(single), 0.3)
    assert np.abs(found - np.array(expected(single))).max() > 1e-4


def test_cost(lm: Loader) -> None:
    """Two layers of width 32 on each side: attention 4 x 32 x 32, twice in the decoder, and 2 x 32 x 64 between."""
    scorer = EncoderDecoderScorer(lm("t5"), "mean")
    layer, crossing = 4 * 32 * 32 + 2 * 32 * 64, 2 * 2 * 32 * 32
    assert scorer.cost.encoder == 2 * layer + crossing
    assert scorer.cost.body == 2 * layer + 2 * 4 * 32 * 32 - crossing
    assert scorer.cost.kept == 2 * 2 * 32
    one, two = Tree([5, 6, 7], [Branch(0, [8, 9], 2)]), Tree([5, 6, 7], [Branch(0, [8, 9], 2), Branch(1, [8, 9], 2)])
    assert scorer.flops([one]) < scorer.flops([two]) < scorer.flops([one, one])
    assert 0 < scorer.bytes_per_token < 1 << 20
