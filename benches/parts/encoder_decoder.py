"""Labelling with an encoder-decoder of random weights, in a process of its own: our engine, or the loop that its peers run.

`python -m benches.parts.encoder_decoder TASK.json` prints pairs, seconds and the scores. Weights and token ids are
drawn from a seed, so both sides compute the same; speed does not depend on what a model has learnt.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benches.harness import timed

VOCABULARY, WIDTH, LAYERS = 250_112, 512, 8  # mT5-small's shape, with as many layers in both halves


@dataclass(frozen=True)
class Task:
    """What is labelled.

    Arguments:
        engine: ours or rival.
        precision: fp32 or bf16.
        threads: of torch.
        groups: passages; of the rival's, whole pairs are taken query by query.
        sharing: queries a passage.
        pairs: that the rival is timed on.
        batch: pairs of the rival at once.
        repeats: timed runs.
    """

    engine: str
    precision: str
    threads: int
    groups: int
    sharing: int
    pairs: int
    batch: int
    repeats: int


def model_of() -> Any:
    """The random model in float32."""
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    torch.manual_seed(0)
    config = MT5Config(
        vocab_size=VOCABULARY, d_model=WIDTH, d_ff=1024, d_kv=64, num_heads=6, num_layers=LAYERS, num_decoder_layers=LAYERS,
        tie_word_embeddings=False, decoder_start_token_id=0,
    )  # fmt: skip
    build: Any = MT5ForConditionalGeneration
    made = build(config)
    made.train(False)
    return made


def pairs_of(groups: int, sharing: int) -> list[tuple[list[int], list[list[int]]]]:
    """Passages of about 190 tokens, each with its queries of about 20: the lengths of xquad-r in mT5's vocabulary."""
    rng = np.random.default_rng(0)

    def draw(mean: float, spread: float) -> list[int]:
        ids: list[int] = rng.integers(5, VOCABULARY, max(4, int(rng.normal(mean, spread)))).tolist()
        return ids

    return [(draw(190, 60), [draw(20, 7) for _ in range(sharing)]) for _ in range(groups)]


def main() -> None:
    """Make the model, warm up, time, print."""
    import torch

    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(task.threads)
    model, groups = model_of(), pairs_of(task.groups, task.sharing)
    call, pairs = ours(task, model, groups) if task.engine == "ours" else rival(task, model, groups)
    seconds, scores = timed(call, task.repeats, lambda: None)
    print(json.dumps({"pairs": pairs, "seconds": seconds, "scores": scores}))


Made = tuple[Callable[[], list[float]], int]


def ours(task: Task, model: Any, groups: list[tuple[list[int], list[list[int]]]]) -> Made:
    """Our engine: a call, and its pairs."""
    from umr.label.scorers.seq2seq import EncoderDecoderScorer
    from umr.label.scorers.trees import Branch, Tree
    from umr.models.lm import LanguageModel, set_precision

    precision: Any = task.precision
    set_precision(model, precision)
    lm = LanguageModel("random", "", True, "random", None, None, model, precision)
    scorer = EncoderDecoderScorer(lm, "mean")
    trees = [Tree(source, [Branch(n, ids, len(ids)) for n, ids in enumerate(targets)]) for source, targets in groups]
    scorer.score(trees[:1])
    return lambda: scorer.score(trees).tolist(), sum(len(t.branches) for t in trees)


def rival(task: Task, model: Any, groups: list[tuple[list[int], list[list[int]]]]) -> Made:
    """Whole pairs in padded batches, full-vocabulary log-softmax in fp32, as the reference does it."""
    if task.precision == "bf16":
        model.bfloat16()
    every = [(source, target) for source, targets in groups for target in targets]
    step = max(1, len(every) // task.pairs)
    pairs = every[::step][: task.pairs]
    batches = [pairs[at : at + task.batch] for at in range(0, len(pairs), task.batch)]

    def call() -> list[float]:
        return [score for batch in batches for score in reference(model, batch)]

    reference(model, batches[0])
    return call, len(pairs)


def reference(model: Any, batch: list[tuple[list[int], list[int]]]) -> list[float]:
    """Mean log-likelihood of each target of a batch."""
    import torch

    def pad(rows: list[list[int]], value: int) -> Any:
        width = max(map(len, rows))
        return torch.tensor([row + [value] * (width - len(row)) for row in rows]).to(model.device)

    sources, targets = pad([s for s, _ in batch], 0), pad([t for _, t in batch], -100)
    with torch.no_grad():
        logits = model(input_ids=sources, attention_mask=(sources != 0).long(), labels=targets).logits
        logp = logits.float().log_softmax(-1)
    return [float(logp[n, torch.arange(len(t)), torch.tensor(t)].mean()) for n, (_, t) in enumerate(batch)]


if __name__ == "__main__":
    main()
