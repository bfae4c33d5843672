"""Which scorer a model gets: one that shares where a sample comes out right, else whole pairs, said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from label.rig import trees_of
from reference import likelihood as twin
from reference import sources
from umr.config import LabelConfig
from umr.label.scorers import Scorer, choose
from umr.label.scorers.choose import disagreement, faster_precision, scorer_for
from umr.label.scorers.trees import Branch, Tree
from umr.progress import Silent

Loader = Callable[..., Any]
CONFIG = LabelConfig(lm="lm", precision="fp32")


def whole(tree: Tree) -> list[Tree]:
    return [Tree(tree.trunk, [branch]) for branch in tree.branches]


def exact(lm: Any, scorer: Scorer) -> bool:
    wanted = [twin.causal(lm.model, lm.tokenizer, *pair) for pairs in sources.causal() for pair in pairs]
    trees = trees_of(lm) if scorer.share else [alone for tree in trees_of(lm) for alone in whole(tree)]
    return bool(np.abs(scorer.score(trees) - np.array(wanted)).max() <= 1e-4)


SHAPES: dict[str, tuple[dict[str, Any], bool]] = {
    "XGLM": ({"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "pad_token_id": 0}, True),
    "Qwen2": (
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
        True,
    ),
    "OPT": ({"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32}, True),
    "Bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 4}, False),
    "Mamba": ({"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, False),
}


@pytest.mark.parametrize("family", list(SHAPES))
def test_a_model_that_cannot_share_is_found_out_and_scored_pair_by_pair(tmp_path: Path, family: str) -> None:
    import torch
    import transformers

    from umr.models.lm import find_lm, load_lm

    tokenizer, (shape, shares) = tiny.unigram(), SHAPES[family]
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **shape)
    folder = tiny.save(tmp_path, config, tokenizer, "AutoModelForCausalLM", 0)
    model, talk = load_lm(find_lm(str(folder), Silent()), "fp32", torch.device("cpu")), tiny.Talk()
    scorer = scorer_for(model, CONFIG, trees_of(model)[:2], talk)
    assert scorer.share is shares
    assert len(talk.warned) == (not shares)
    assert exact(model, scorer)


def test_a_wrong_mask_is_found_out_before_anything_is_scored(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from umr.label.scorers.causal import CausalScorer

    model, talk = lm("llama"), tiny.Talk()
    everything = lambda _, inputs, window: torch.ones(inputs["ids"].shape[1], inputs["ids"].shape[1], dtype=torch.bool)  # noqa: E731
    monkeypatch.setattr(CausalScorer, "_mask", everything)
    scorer = scorer_for(model, CONFIG, trees_of(model)[:2], talk)
    assert not scorer.share
    assert "does not score shared passages correctly (off by" in talk.warned[0]
    assert exact(model, scorer)


class Off:
    """A scorer that is off by so many nats a pair, or refuses."""

    share, bytes_per_token = True, 10

    def __init__(self, alone: Any, nats: float, error: Exception | None = None) -> None:
        self.alone, self.nats, self.error = alone, nats, error

    def score(self, trees: Sequence[Tree]) -> Any:
        if self.error:
            raise self.error
        return self.alone.score([one for tree in trees for one in whole(tree)]) + np.float32(self.nats)

    def flops(self, trees: Sequence[Tree]) -> float:
        return 1.0


class Timed:
    """A scorer that takes so long."""

    share, bytes_per_token = True, 10

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def score(self, trees: Sequence[Tree]) -> Any:
        CLOCK[0] += self.seconds
        return np.zeros(len(trees), dtype=np.float32)

    def flops(self, trees: Sequence[Tree]) -> float:
        return 1.0


CLOCK = [0.0]


@pytest.mark.parametrize(("seconds", "chosen"), [({"fp32": 2.0, "bf16": 1.0}, "bf16"), ({"fp32": 1.0, "bf16": 1.5}, "fp32")])
def test_the_precision_is_the_one_in_which_real_pairs_are_faster(
    lm: Loader, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], chosen: str
) -> None:
    import torch

    model, talk = lm("llama"), tiny.Talk()
    monkeypatch.setattr(choose.time, "perf_counter", lambda: CLOCK[0])
    monkeypatch.setattr(choose, "scorer_for", lambda lm, *_: Timed(seconds[lm.precision]))
    sample = [Tree([5, 6], [Branch(0, [7], 1), Branch(1, [8], 1)])]
    assert faster_precision(model, CONFIG, sample, torch.device("cpu"), talk) == chosen
    assert talk.said == [f"precision {chosen}: 2 pairs took {seconds['fp32']:.2f} s in fp32, {seconds['bf16']:.2f} s in bf16"]
    assert faster_precision(model, CONFIG, [], torch.device("cpu"), talk) == "fp32"


def test_both_precisions_are_timed_on_the_real_model(lm: Loader) -> None:
    import torch

    for name in ("llama", "mt5"):
        talk = tiny.Talk()
        assert faster_precision(lm(name), CONFIG, [Tree([5, 6], [Branch(0, [7, 8], 2)])], torch.device("cpu"), talk) in ("fp32", "bf16")
        assert " s in fp32, " in talk.said[0]


@pytest.mark.parametrize("name", ["llama", "mt5"])
def test_without_sharing_each_tree_is_a_pair(lm: Loader, name: str) -> None:
    assert not scorer_for(lm(name), LabelConfig(lm="lm", precision="fp32", share=False), [], Silent()).share


@pytest.mark.parametrize("error", [IndexError("x"), TypeError("x"), ValueError("x"), RuntimeError("x")])
def test_a_scorer_that_refuses_disagrees_without_end(error: Exception) -> None:
    assert disagreement(Off(None, 0, error), Off(None, 0), [Tree([1], [Branch(0, [2], 1)])], False) == float("inf")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_running_out_of_memory_is_no_disagreement(error: Exception) -> None:
    with pytest.raises(type(error)):
        disagreement(Off(None, 0, error), Off(None, 0), [Tree([1], [Branch(0, [2], 1)])], False)


def test_a_sum_is_compared_token_by_token(lm: Loader) -> None:
    from umr.label.scorers.causal import CausalScorer

    alone = CausalScorer(lm("llama"), "sum", share=False)
    trees = [Tree([5, 6], [Branch(0, [7, 8, 9, 10], 4)])]
    assert disagreement(Off(alone, 1), alone, trees, True) == pytest.approx(0.25, rel=1e-3)
    assert disagreement(Off(alone, 1), alone, trees, False) == pytest.approx(1, rel=1e-3)
    assert disagreement(Off(alone, float("nan")), alone, trees, False) == float("inf")
