"""Which scorer a language model gets; one that shares passages is checked against whole pairs before anything is scored."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from umr.config import LabelConfig, Precision
from umr.errors import ModelError
from umr.label.scorers import REFUSALS, Scorer
from umr.label.scorers.trees import Tree
from umr.models.device import out_of_memory, release_memory
from umr.models.lm import LanguageModel, load_lm
from umr.progress import Reporter, Silent

TOLERANCE: dict[Precision, float] = {
    "fp32": 1e-3,
    "bf16": 0.15,
}  # nats a token: beyond it a model does not take the mask of shared passages
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
Scores = NDArray[np.float32]
TIMED_RUNS = 2  # in each precision; the faster one counts
TIMED_TOKENS = {"cuda": 65536}  # a GPU takes as long for a few pairs in either precision


def scorer_for(lm: LanguageModel, config: LabelConfig, sample: Sequence[Tree], reporter: Reporter) -> Scorer:
    """The scorer of a loaded language model.

    Arguments:
        lm: the model.
        config: `reduction` and `share` decide.
        sample: trees to check the scorer with.
        reporter: told where a model is on several GPUs, or cannot share passages.
    """
    from umr.label.scorers.causal import CausalScorer
    from umr.label.scorers.seq2seq import EncoderDecoderScorer

    if places := getattr(lm.model, "hf_device_map", None):
        reporter.say(
            f"{lm.name} is larger than a GPU: its layers are on {len(set(places.values()))} of them (--device cuda:0 keeps to one)"
        )
    if lm.encoder_decoder:
        return EncoderDecoderScorer(lm, config.reduction, config.share)
    alone = CausalScorer(lm, config.reduction, share=False)
    if not config.share:
        return alone
    shared = CausalScorer(lm, config.reduction, share=True)
    worst = disagreement(shared, alone, sample, config.reduction == "sum")
    if worst <= TOLERANCE[lm.precision]:
        return shared
    detail = f"off by {worst:.3g} nats" if math.isfinite(worst) else "it takes no such mask"
    reporter.warn(f"this model does not score shared passages correctly ({detail}): pairs are scored one by one, which is slower")
    return alone


def load_scorer(
    lm: LanguageModel, precision: Precision, config: LabelConfig, sample: Sequence[Tree], device: torch.device, reporter: Reporter
) -> Scorer:
    """Load a language model into its scorer.

    Arguments:
        lm: the model, found.
        precision: fp32 or bf16.
        config: of the stage.
        sample: trees to check the scorer with.
        device: where it runs.
        reporter: as `scorer_for`.

    Raises:
        ModelError: it cannot be loaded, or vLLM gives other scores than torch.
    """
    gc.collect()  # an engine of another language model holds its memory until then
    loaded = load_lm(lm, precision, device, config.weights)
    if config.engine == "torch":
        return scorer_for(loaded, config, sample, reporter)
    from umr.label.scorers.causal import CausalScorer
    from umr.label.scorers.vllm import VllmScorer

    pairs = [Tree(tree.trunk, [branch]) for tree in sample for branch in tree.branches]
    ours = CausalScorer(loaded, config.reduction, share=False)
    expected, cost = ours.score(pairs), ours.cost
    del loaded, ours  # vLLM needs the room
    gc.collect()
    release_memory()
    theirs = VllmScorer(lm, precision, config, cost, device)
    worst = _worst(theirs.score(pairs), expected, pairs, config.reduction == "sum")
    reporter.say(f"{lm.name} by vLLM: {len(pairs)} pairs within {worst:.2g} nats a token of torch")
    if worst > TOLERANCE[precision]:
        raise ModelError(
            f"vLLM's scores of {lm.name} are off by {worst:.3g} nats a token, at most {TOLERANCE[precision]:g} is rounding",
            "leave engine out: torch computes what the model's own code says",
        )
    return theirs


def faster_precision(lm: LanguageModel, config: LabelConfig, sample: Sequence[Tree], device: torch.device, reporter: Reporter) -> Precision:
    """The precision in which a few real pairs, on a GPU many times the same ones, are scored faster; fp32 where there are none.

    Arguments:
        lm: the model, found.
        config: of the stage.
        sample: trees of real pairs, one short batch.
        device: where the model runs.
        reporter: told what was measured.
    """
    sample = list(sample) * (1 + TIMED_TOKENS.get(device.type, 0) // max(1, sum(tree.tokens for tree in sample)))
    seconds = {precision: _seconds(lm, config, sample, device, precision) for precision in PRECISIONS} if sample else {}
    chosen = min(PRECISIONS, key=lambda precision: seconds.get(precision, 0.0))
    times = ", ".join(f"{value:.2f} s in {name}" for name, value in seconds.items())
    reporter.say(f"precision {chosen}: {sum(len(tree.branches) for tree in sample)} pairs took {times or 'no time'}")
    return chosen


def _seconds(lm: LanguageModel, config: LabelConfig, sample: Sequence[Tree], device: torch.device, precision: Precision) -> float:
    scorer, times = scorer_for(load_lm(lm, precision, device, config.weights), config, sample, Silent()), []
    trees = list(sample) if scorer.share else [Tree(tree.trunk, [branch]) for tree in sample for branch in tree.branches]
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        scorer.score(trees)
        times.append(time.perf_counter() - start)
    return min(times)


def disagreement(scorer: Scorer, alone: Scorer, trees: Sequence[Tree], summed: bool) -> float:
    """The largest difference between two scorers.

    Arguments:
        scorer: that shares.
        alone: that scores whole pairs.
        trees: a sample; without any they agree.
        summed: whether scores are sums over target tokens.

    Returns:
        nats a target token; infinite where the first scorer cannot do it at all.
    """
    try:
        found = scorer.score(trees)
    except REFUSALS as error:  # how Bloom and Mamba refuse the mask
        if out_of_memory(error):
            raise
        return math.inf
    expected = alone.score([Tree(tree.trunk, [branch]) for tree in trees for branch in tree.branches])
    return _worst(found, expected, trees, summed)


def _worst(found: Scores, expected: Scores, trees: Sequence[Tree], summed: bool) -> float:
    """The largest difference, in nats a target token; infinite where one is no number."""
    tokens = np.array([branch.targets if summed else 1 for tree in trees for branch in tree.branches])
    worst = float(np.max(np.abs(found - expected) / tokens, initial=0.0))
    return worst if math.isfinite(worst) else math.inf
