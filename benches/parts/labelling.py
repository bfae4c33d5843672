"""Labelling in a process of its own, timed: the scorer that the stage makes, or plain padded batches of whole pairs.

`python -m benches.parts.labelling TASK.json` prints pairs, seconds and the scores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches.harness import stopwatch, timed
from benches.parts.padded import padded_scores

if TYPE_CHECKING:
    from umr.label.prompts.prompt import Prompt
    from umr.label.scorers.trees import Tree

Score = Callable[[list["Tree"]], list[float]]


@dataclass(frozen=True)
class Task:
    """What is labelled.

    Arguments:
        engine: umr or padded.
        model: folder of the language model.
        precision: fp32 or bf16.
        threads: of torch.
        seconds: groups are taken until a run would take so long; 0 takes all.
        repeats: timed runs.
        texts: passages.
        groups: of [query, language, passage number], each group of one passage.
    """

    engine: str
    model: str
    precision: Any
    threads: int
    seconds: float
    repeats: int
    texts: list[str]
    groups: list[list[list[Any]]]


def main() -> None:
    """Load, warm up, time, print."""
    import torch

    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(task.threads)
    score, trees = ENGINES[task.engine](task)
    score(trees[:1])
    trees = trees[: _enough(score, trees, task.seconds)]
    seconds, scores = timed(lambda: score(trees), task.repeats, lambda: None)
    print(json.dumps({"groups": len(trees), "pairs": len(scores), "seconds": seconds, "scores": scores}))


def _trees(task: Task, prompt: Prompt) -> list[Tree]:
    made = []
    for pairs in task.groups:
        targets = [prompt.target_ids("", query) for query, _, _ in pairs]
        text = task.texts[pairs[0][2]]
        sources = [prompt.source_ids("", text, lang, prompt.room(len(t))) for (_, lang, _), t in zip(pairs, targets, strict=True)]
        made.append(prompt.tree(sources, targets, [0] * len(pairs)))
    return made


def _umr(task: Task) -> tuple[Score, list[Tree]]:
    """The scorer as `umr label` makes it, its check of the model included."""
    from umr.config import LabelConfig
    from umr.label.plan.budget import MOST_TOKENS
    from umr.label.prompts.prompt import prompt_for
    from umr.label.scorers.choose import scorer_for
    from umr.label.scorers.trees import fill
    from umr.models.device import pick_device
    from umr.models.lm import find_lm, load_lm
    from umr.progress import Silent

    config = LabelConfig(task.model)
    lm = find_lm(task.model, Silent())
    trees = _trees(task, prompt_for(lm, config))
    sample = [replace(tree, branches=tree.branches[:2]) for tree in trees[:2]]
    scorer = scorer_for(load_lm(lm, task.precision, pick_device("cpu")), config, sample, Silent())
    return lambda some: [x for batch in fill(some, MOST_TOKENS["cpu"]) for x in scorer.score(batch).tolist()], trees


def _padded(task: Task) -> tuple[Score, list[Tree]]:
    """Padded batches, with the model as transformers loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    from umr.config import LabelConfig
    from umr.label.prompts.prompt import prompt_for
    from umr.models.lm import find_lm
    from umr.progress import Silent

    loader: Any = AutoModelForCausalLM
    model = loader.from_pretrained(task.model, dtype=torch.bfloat16 if task.precision == "bf16" else torch.float32).eval()
    trees = _trees(task, prompt_for(find_lm(task.model, Silent()), LabelConfig(task.model)))

    def score(some: list[Tree]) -> list[float]:
        whole = [(tree.trunk + b.ids[: -b.targets], b.ids[-b.targets :]) for tree in some for b in tree.branches]
        return padded_scores(model, whole)

    return score, trees


ENGINES: dict[str, Callable[[Task], tuple[Score, list[Tree]]]] = {"umr": _umr, "padded": _padded}


def _enough(score: Score, trees: list[Tree], seconds: float) -> int:
    """How many trees take about so long, by timing a few."""
    if not seconds:
        return len(trees)
    some, times = 1, [0.0]
    while times[-1] < seconds / 8 and some < len(trees):
        some = min(2 * some, len(trees))
        with stopwatch(times):
            score(trees[:some])
    return min(len(trees), max(1, round(1.1 * some * seconds / max(times[-1], 1e-9))))


if __name__ == "__main__":
    main()
