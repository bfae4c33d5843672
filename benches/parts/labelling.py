"""umr's labelling in a process of its own: the scorer that the stage makes, on groups of pairs, timed and counted.

`python -m benches.parts.labelling TASK.json` prints pairs a second, what was computed, and the scores.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches.harness import stopwatch

if TYPE_CHECKING:
    from umr.label.pack import Tree
    from umr.label.reading import Reading
    from umr.label.work import Scorer
    from umr.models.lm import LanguageModel

WARM_UP = 1  # trees


@dataclass(frozen=True)
class Task:
    """What is labelled.

    Arguments:
        model: folder of the language model.
        precision: fp32, bf16 or int8.
        threads: of torch and of the core.
        seconds: groups are taken until a run would take so long; 0 takes all.
        repeats: timed runs.
        texts: passages.
        groups: of [question, language, passage number], each group of one passage.
        calibrate: such groups that int8 is calibrated with.
        recipes: folder where the calibration is kept.
    """

    model: str
    precision: Any
    threads: int
    seconds: float
    repeats: int
    texts: list[str]
    groups: list[list[list[Any]]]
    calibrate: list[list[list[Any]]]
    recipes: str


def main() -> None:
    """Load, warm up, time, print."""
    import torch

    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(task.threads)
    lm, reading = _model(task)
    trees = _trees(reading, task.texts, task.groups)
    scorer = _scorer(task, lm, reading, trees)
    _score(scorer, trees[:WARM_UP])
    trees = trees[: _enough(scorer, trees, task.seconds)]
    times: list[float] = []
    scores: list[float] = []
    for _ in range(task.repeats):
        with stopwatch(times):
            scores = _score(scorer, trees)
    print(json.dumps({
        "groups": len(trees), "pairs": len(scores), "seconds": statistics.median(times), "scores": scores, "padding": 0,
        "unit": scorer.unit,
    }))  # fmt: skip


def _model(task: Task) -> tuple[LanguageModel, Reading]:
    from umr.config import LabelConfig
    from umr.label.prompt import CAUSAL, Prompt
    from umr.label.reading import Reading
    from umr.models.device import pick_device
    from umr.models.lm import find_lm, load_lm
    from umr.progress import Silent

    files = find_lm(task.model, Silent())
    lm = load_lm(files, task.precision, pick_device("cpu"))
    return lm, Reading(Prompt(*CAUSAL), lm.tokenizer, False, LabelConfig(task.model).source_length, lm.context)


def _trees(reading: Reading, texts: list[str], groups: list[list[list[Any]]]) -> list[Tree]:
    made, number = [], 0
    for pairs in groups:
        targets = [reading.target(str(number), question) for question, _, _ in pairs]
        passage = ("", texts[pairs[0][2]])
        sources = [reading.source(passage, lang, reading.room(len(t))) for (_, lang, _), t in zip(pairs, targets, strict=True)]
        made.append(reading.tree(sources, targets, list(range(number, number + len(pairs)))))
        number += len(pairs)
    return made


def _scorer(task: Task, lm: LanguageModel, reading: Reading, trees: list[Tree]) -> Scorer:
    """The scorer as `umr label` makes it, its check of the model included."""
    from umr.config import LabelConfig
    from umr.label.engines import engine_for
    from umr.label.native.recipes import recipe_for
    from umr.progress import Silent

    def recipe() -> Any:
        return recipe_for(lm, Path(task.recipes), lambda _: _trees(reading, task.texts, task.calibrate), Silent())

    config = LabelConfig(task.model, precision=task.precision, device="cpu")
    sample = [replace(tree, branches=tree.branches[:2]) for tree in trees[:2]]
    return engine_for(lm, config, sample, Silent(), recipe).scorer


def _score(scorer: Scorer, trees: list[Tree]) -> list[float]:
    from umr.label.pack import fill

    found: list[float] = []
    for batch in fill(trees, int(getattr(scorer, "most_tokens", 4096))):
        found += scorer.score(batch).tolist()
    return found


def _enough(scorer: Scorer, trees: list[Tree], seconds: float) -> int:
    """How many trees take about so long, by timing a few."""
    if not seconds:
        return len(trees)
    some, times = 1, [0.0]
    while times[-1] < seconds / 8 and some < len(trees):
        some = min(2 * some, len(trees))
        with stopwatch(times):
            _score(scorer, trees[:some])
    return min(len(trees), max(1, round(1.1 * some * seconds / max(times[-1], 1e-9))))


if __name__ == "__main__":
    main()
