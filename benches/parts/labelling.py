"""umr's labelling in a process of its own: the scorer that the stage makes, on groups of pairs, timed and counted.

`python -m benches.parts.labelling TASK.json` prints pairs a second, what was computed, and the scores.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches.harness import stopwatch

if TYPE_CHECKING:
    from umr.label.work import Group, Scorer
    from umr.models.lm import LanguageModel

WARM_UP = 1  # groups


@dataclass(frozen=True)
class Task:
    """What is labelled.

    Arguments:
        model: folder of the language model.
        precision: fp32 or bf16.
        threads: of torch.
        seconds: groups are taken until a run would take so long; 0 takes all.
        repeats: timed runs.
        texts: passages.
        groups: of [question, language, passage number], each group of one passage.
    """

    model: str
    precision: Any
    threads: int
    seconds: float
    repeats: int
    texts: list[str]
    groups: list[list[list[Any]]]


@dataclass
class Count:
    """Tokens that went into the model, and how many of them were padding."""

    tokens: int = 0
    padding: int = 0


def main() -> None:
    """Load, warm up, time, print."""
    import torch

    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    torch.set_num_threads(task.threads)
    groups = _groups(task)
    scorer = _scorer(task, groups)
    _score(scorer, groups[:WARM_UP])
    groups = groups[: _enough(scorer, groups, task.seconds)]
    times: list[float] = []
    scores: dict[int, float] = {}
    with _counted(scorer.lm) as count:
        for _ in range(task.repeats):
            with stopwatch(times):
                scores = _score(scorer, groups)
    print(json.dumps({
        "groups": len(groups), "pairs": len(scores), "seconds": statistics.median(times), "scores": [scores[n] for n in sorted(scores)],
        "computed": count.tokens / task.repeats, "padding": count.padding / task.repeats,
    }))  # fmt: skip


def _groups(task: Task) -> list[Group]:
    from umr.label.work import Group, Question

    made, number = [], 0
    for pairs in task.groups:
        questions = [Question(number + at, question, lang) for at, (question, lang, _) in enumerate(pairs)]
        made.append(Group("", task.texts[pairs[0][2]], questions))
        number += len(pairs)
    return made


def _scorer(task: Task, groups: list[Group]) -> Any:
    """The scorer as `umr label` makes it, its check of the model included; it keeps its model as `lm`."""
    from umr.config import LabelConfig
    from umr.models.lm import find_lm
    from umr.progress import Silent

    stage: Any = import_module("umr.label")  # `umr.label` itself is the function
    config, reporter = LabelConfig(task.model, precision=task.precision, device="cpu"), Silent()
    files = find_lm(task.model, reporter)
    return stage._scorer(files, stage._prompt(config, files), config, {"precision": task.precision}, groups[:2], reporter)


def _score(scorer: Scorer, groups: list[Group]) -> dict[int, float]:
    found: dict[int, float] = {}
    for pairs, scores in scorer.score(groups):
        found |= zip(pairs, scores.tolist(), strict=True)
    missing = sum(len(g.questions) for g in groups) - len(found)
    if missing:
        raise RuntimeError(f"{missing} pairs have no score")
    return found


def _enough(scorer: Scorer, groups: list[Group], seconds: float) -> int:
    """How many groups take about so long, by timing a few."""
    if not seconds:
        return len(groups)
    some, times = 1, [0.0]
    while times[-1] < seconds / 8 and some < len(groups):
        some = min(2 * some, len(groups))
        with stopwatch(times):
            _score(scorer, groups[:some])
    return min(len(groups), max(1, round(1.1 * some * seconds / max(times[-1], 1e-9))))


@contextmanager
def _counted(lm: LanguageModel) -> Iterator[Count]:
    """Count what enters the model's embedding, however the engine calls the rest."""
    count, pad = Count(), lm.tokenizer.pad_token_id

    def hook(_module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        count.tokens += inputs[0].numel()
        count.padding += int((inputs[0] == pad).sum()) if pad is not None else 0

    handle = lm.model.get_input_embeddings().register_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()


if __name__ == "__main__":
    main()
