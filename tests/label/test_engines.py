"""Which scorer a model gets: one that shares where a sample comes out right, else whole pairs, said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from reference import likelihood as twin
from reference import sources
from umr.config import LabelConfig
from umr.errors import UsageError
from umr.label import check, engines
from umr.label.engines import Engine, engine_for
from umr.label.pack import Branch, Tree, grow
from umr.progress import Silent

Loader = Callable[..., Any]
CONFIG = LabelConfig(lm="lm", precision="fp32")


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_peak", lambda *_: 1e9)


@pytest.fixture
def torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled core's scorers have tests of their own."""
    monkeypatch.setattr(engines, "_native", lambda *_: None)


def trees_of(lm: Any, seed: int = 0) -> list[Tree]:
    made = []
    for pairs in sources.causal(seed):
        heads = [lm.tokenizer(source).input_ids for source, _ in pairs]
        made.append(grow(heads, [lm.tokenizer(t, add_special_tokens=False).input_ids for _, t in pairs], list(range(len(pairs)))))
    return made


def whole(tree: Tree) -> list[Tree]:
    return [Tree(tree.trunk, [branch]) for branch in tree.branches]


def exact(lm: Any, engine: Engine) -> bool:
    wanted = [twin.causal(lm.model, lm.tokenizer, *pair) for pairs in sources.causal() for pair in pairs]
    trees = trees_of(lm) if engine.shared else [alone for tree in trees_of(lm) for alone in whole(tree)]
    return bool(np.abs(engine.scorer.score(trees) - np.array(wanted)).max() <= 1e-4)


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


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize("family", list(SHAPES))
def test_a_model_that_cannot_share_is_found_out_and_scored_pair_by_pair(tmp_path: Path, family: str) -> None:
    import torch
    import transformers

    from umr.models.lm import find_lm, load_lm

    tokenizer, (shape, shares) = tiny.unigram(), SHAPES[family]
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **shape)
    folder = tiny.save(tmp_path, config, tokenizer, "AutoModelForCausalLM", 0)
    model, talk = load_lm(find_lm(str(folder), Silent()), "fp32", torch.device("cpu")), tiny.Talk()
    engine = engine_for(model, CONFIG, trees_of(model)[:2], talk)
    assert engine.shared is shares
    assert len(talk.warned) == (not shares)
    assert exact(model, engine)


@pytest.mark.usefixtures("torch_alone")
def test_a_wrong_mask_is_found_out_before_anything_is_scored(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from umr.label.causal import CausalScorer

    model, talk = lm("llama"), tiny.Talk()
    monkeypatch.setattr(CausalScorer, "_take_blocks", lambda _: False)
    everything = lambda _, row, window: torch.zeros(1, 1, len(row.ids), len(row.ids))  # noqa: E731
    monkeypatch.setattr(CausalScorer, "_mask", everything)
    engine = engine_for(model, CONFIG, trees_of(model)[:2], talk)
    assert not engine.shared
    assert "does not score shared passages correctly (off by" in talk.warned[0]
    assert exact(model, engine)


class Off:
    """A scorer that is off by so many nats a pair, or refuses."""

    unit, bytes_per_token = "packed", 10

    def __init__(self, alone: Any, nats: float, error: Exception | None = None) -> None:
        self.alone, self.nats, self.error = alone, nats, error

    def score(self, trees: Sequence[Tree]) -> Any:
        if self.error:
            raise self.error
        return self.alone.score([one for tree in trees for one in whole(tree)]) + np.float32(self.nats)

    def flops(self, trees: Sequence[Tree]) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("precision", "nats", "taken"), [("fp32", 5e-4, True), ("fp32", 5e-3, False), ("int8", 0.3, True), ("int8", 1, False)]
)
def test_our_own_kernels_are_checked_too(lm: Loader, monkeypatch: pytest.MonkeyPatch, precision: Any, nats: float, taken: bool) -> None:
    from umr.label.causal import CausalScorer

    model, talk, config = lm("llama"), tiny.Talk(), LabelConfig(lm="lm", precision=precision)
    off = Off(CausalScorer(model, "mean", share=False), nats)
    monkeypatch.setattr(engines, "_native", lambda *_: off)
    if precision == "int8" and not taken:
        with pytest.raises(UsageError, match="no int8 kernels"):
            engine_for(model, config, trees_of(model)[:2], talk)
        return
    engine = engine_for(model, config, trees_of(model)[:2], talk)
    assert (engine.scorer is off) is taken
    assert engine.shared
    assert engine.peak == 1e9
    assert len(talk.warned) == (not taken)


def test_int8_is_refused_where_nothing_computes_it(lm: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_native", lambda *_: None)
    config = LabelConfig(lm="lm", precision="int8")
    for name, kind in (("llama", "llama"), ("mt5", "mt5")):
        with pytest.raises(UsageError, match=f"no int8 kernels for a {kind}") as caught:
            engine_for(lm(name), config, [], Silent())
        assert "--weights int8" in caught.value.hint


@pytest.mark.usefixtures("torch_alone")
@pytest.mark.parametrize("name", ["llama", "mt5"])
def test_without_sharing_each_tree_is_a_pair(lm: Loader, name: str) -> None:
    engine = engine_for(lm(name), LabelConfig(lm="lm", precision="fp32", share=False), [], Silent())
    assert not engine.shared
    assert engine.scorer.unit == ("packed" if name == "llama" else "padded")


@pytest.mark.parametrize("error", [IndexError("x"), TypeError("x"), ValueError("x"), RuntimeError("x")])
def test_a_scorer_that_refuses_disagrees_without_end(error: Exception) -> None:
    assert check.disagreement(Off(None, 0, error), Off(None, 0), [Tree([1], [Branch(0, [2], 1)])], False) == float("inf")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_running_out_of_memory_is_no_disagreement(error: Exception) -> None:
    with pytest.raises(type(error)):
        check.disagreement(Off(None, 0, error), Off(None, 0), [Tree([1], [Branch(0, [2], 1)])], False)


def test_a_sum_is_compared_token_by_token(lm: Loader) -> None:
    from umr.label.causal import CausalScorer

    alone = CausalScorer(lm("llama"), "sum", share=False)
    trees = [Tree([5, 6], [Branch(0, [7, 8, 9, 10], 4)])]
    assert check.disagreement(Off(alone, 1), alone, trees, True) == pytest.approx(0.25, rel=1e-3)
    assert check.disagreement(Off(alone, 1), alone, trees, False) == pytest.approx(1, rel=1e-3)
    assert check.disagreement(Off(alone, float("nan")), alone, trees, False) == float("inf")


def test_the_sample_takes_long_passages_that_serve_several_questions(lm: Loader, tmp_path: Path) -> None:
    from umr.label.pairs import pairs_of
    from umr.label.prompt import CAUSAL, Prompt
    from umr.label.reading import Reading

    model = lm("llama")
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "corpus"))
    pairs = pairs_of(work, tiny.mined(work, k=4), LabelConfig(lm="lm", correct="empty"))
    reading = Reading(Prompt(*CAUSAL), model.tokenizer, False, 512, model.context)
    trees = check.sample_trees(work, pairs, np.arange(len(pairs)), reading)
    assert len(trees) == check.GROUPS
    assert all(len(tree.branches) == check.QUESTIONS for tree in trees)
    seen = [pairs.rows[branch.pair] for tree in trees for branch in tree.branches]
    shared = [row for row in range(12) if (pairs.rows == row).sum() >= check.QUESTIONS]
    lengths = {row: len(work.passages.texts(np.array([row], dtype=np.uint32))[0][1]) for row in shared}
    longest = sorted(lengths, key=lengths.__getitem__)[-check.GROUPS :]
    assert {int(row) for row in seen} == set(longest)
