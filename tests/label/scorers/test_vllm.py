"""vLLM as the engine: what it is asked, the check beside torch, and what is refused. A stand-in takes its place, which computes with
transformers: the real one comes with a torch of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import tiny
import umr
from label.rig import trees_of
from umr.config import LabelConfig
from umr.errors import MissingExtraError, ModelError, UsageError
from umr.label.scorers import vllm as engine
from umr.label.scorers.cost import Cost
from umr.label.scorers.trees import Branch, Tree
from umr.label.scorers.vllm import VllmScorer
from umr.models.lm import find_lm
from umr.progress import Silent

Loader = Callable[..., Any]
COST = Cost(1, 1, 1, 1)


class StandIn:
    """What of vLLM's `LLM` is used: tokens in, log-probabilities of the prompt's own tokens out."""

    made: ClassVar[list[StandIn]] = []
    off = 0.0

    def __init__(self, **options: Any) -> None:
        from transformers import AutoModelForCausalLM

        if "refused" in options["model"]:
            raise ValueError("Model architectures are not supported\nand much more")
        self.options, self.asked = options, 0
        self.model = AutoModelForCausalLM.from_pretrained(options["model"]).eval()
        StandIn.made.append(self)

    def generate(self, prompts: Sequence[dict[str, list[int]]], wanted: Any, use_tqdm: bool) -> list[Any]:
        import torch

        assert (wanted.max_tokens, wanted.prompt_logprobs, use_tqdm) == (1, 0, False)
        self.asked += len(prompts)
        found = []
        for prompt in prompts:
            ids = torch.tensor([prompt["prompt_token_ids"]])
            with torch.inference_mode():
                logp = self.model(ids).logits[0].log_softmax(dim=-1)
            own = ids[0].tolist()
            given = [{token: SimpleNamespace(logprob=float(row[token]) + self.off)} for token, row in zip(own[1:], logp, strict=False)]
            found.append(SimpleNamespace(prompt_logprobs=[None, *given]))
        return found


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    vars(module).update(LLM=StandIn, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(StandIn, "made", [])
    return StandIn


def test_labels_are_those_of_torch_and_scores_are_kept_apart(tmp_path: Path) -> None:
    model, corpus = str(tiny.llama(tmp_path / "lm")), tiny.tiny_corpus(tmp_path)
    work, talk = tiny.workspace(tmp_path / "work", corpus), tiny.Talk()
    tiny.mined(work)
    ours = umr.label(work, LabelConfig(lm=model, precision="fp32"), 0)
    theirs = umr.label(work, LabelConfig(lm=model, precision="fp32", engine="vllm"), 0, talk, force=True)
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-4)
    assert len([store for store in work.layout.scores.iterdir() if store.is_dir()]) == 2
    (made,) = StandIn.made
    assert made.asked > theirs.scores.size  # the sample beside torch's, then every pair: nothing was taken from torch's store
    assert "nats a token of torch" in talk.text
    assert made.options["enable_prefix_caching"] is False
    assert (made.options["dtype"], made.options["tensor_parallel_size"]) == ("float32", 1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_score_is_that_of_the_target_alone(lm: Loader, reduction: Any) -> None:
    import torch

    from umr.label.scorers.causal import CausalScorer

    model = lm("gemma3")
    pairs = [Tree(tree.trunk, [branch]) for tree in trees_of(model) for branch in tree.branches]
    config = LabelConfig(lm="lm", precision="fp32", reduction=reduction, engine="vllm")
    found = VllmScorer(model, "fp32", config, COST, torch.device("cpu")).score(pairs)
    np.testing.assert_allclose(found, CausalScorer(model, reduction, share=False).score(pairs), atol=1e-4)


def test_other_scores_than_those_of_torch_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "off", 0.01)
    model, corpus = str(tiny.llama(tmp_path / "lm")), tiny.tiny_corpus(tmp_path)
    work = tiny.workspace(tmp_path / "work", corpus)
    tiny.mined(work)
    with pytest.raises(ModelError, match=r"off by 0\.01 nats a token, at most 0\.001 is rounding"):
        umr.label(work, LabelConfig(lm=model, precision="fp32", engine="vllm"), 0)
    assert not work.layout.round(0).labelled.exists()


@pytest.mark.parametrize(("device", "spread"), [("cuda", 4), ("cpu", 1)])
def test_layers_are_split_over_all_gpus_in_the_memory_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, spread: int
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(engine, "free_memory", lambda _: 30)
    monkeypatch.setattr(engine, "total_memory", lambda _: 40)
    found = find_lm(str(tiny.llama(tmp_path / "lm")), Silent())
    VllmScorer(found, "bf16", LabelConfig(lm="lm", engine="vllm"), COST, torch.device(device))
    options = StandIn.made[0].options
    assert (options["tensor_parallel_size"], options["dtype"]) == (spread, "bfloat16")
    assert options["gpu_memory_utilization"] == pytest.approx(0.6)  # 0.8 of three quarters


def test_one_gpu_of_several_is_refused(tmp_path: Path) -> None:
    import torch

    with pytest.raises(UsageError, match="takes all GPUs of a machine, but this process has cuda:1 alone"):
        engine.require_vllm(find_lm(str(tiny.llama(tmp_path / "lm")), Silent()), torch.device("cuda:1"))


def test_what_vllm_cannot_do_is_said_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path))
    tiny.mined(work)
    with pytest.raises(UsageError, match="is an encoder-decoder, which vLLM does not score"):
        umr.label(work, LabelConfig(lm=str(tiny.t5(tmp_path / "pairs")), engine="vllm"), 0)
    with pytest.raises(UsageError, match="weights is int8, which engine = vllm does not round"):
        LabelConfig(lm="lm", engine="vllm", weights="int8")
    refused = str(tiny.llama(tmp_path / "refused"))
    with pytest.raises(ModelError, match=r"vLLM does not load .*refused: Model architectures are not supported"):
        umr.label(work, LabelConfig(lm=refused, precision="fp32", engine="vllm"), 0)
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="engine is vllm, but vLLM is not installed"):
        umr.label(work, LabelConfig(lm=refused, engine="vllm"), 0)
    assert not StandIn.made


def test_a_pair_that_is_longer_than_vllm_was_told_is_refused(tmp_path: Path) -> None:
    import torch

    found = find_lm(str(tiny.llama(tmp_path / "lm", positions=64)), Silent())
    scorer = VllmScorer(found, "fp32", LabelConfig(lm="lm", engine="vllm"), COST, torch.device("cpu"))
    assert len(scorer.score([Tree([1] * 60, [Branch(0, [2, 3], 2)])])) == 1
    with pytest.raises(UsageError, match="a pair has 64 tokens, and vLLM was told of 63 at most"):
        scorer.score([Tree([1] * 60, [Branch(0, [2, 3, 4, 5], 2)])])
