"""`umr eval`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umr.cli.arguments import Device, Lang, Passages, Queries, Work
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.config import Index
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr.evaluate import Evaluation

NAME = "eval"
METRICS = "R@1,R@5,MRR,nDCG@10"


def evaluate(
    work: Work,
    reporter: Reporter,
    qrels: Annotated[Path, typer.Option(help="Judgments: TREC `qid 0 docid rel` or BEIR TSV, .gz too.", show_default=False)],
    queries: Queries = None,
    passages: Passages = None,
    lang: Lang = None,
    round: Annotated[
        int | None,
        typer.Option(
            "--round",
            help="Measure this encoder alone: 0 is the first one, r the one trained in round r-1.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[str, typer.Option(help="Measures, separated by commas: R@k, Success@k, MRR, nDCG@k, mAP, P@k.")] = METRICS,
    top_k: Annotated[int, typer.Option(min=1, help="Passages retrieved for every query.")] = 100,
    device: Device = "auto",
    index: Annotated[Index, typer.Option(help="exact, however the round was mined, or hnsw: approximate, its recall is said.")] = "exact",
) -> Result:
    """Measure the first and the newest encoder on judged queries, by language, with a paired bootstrap of the difference.

    The queries and passages are the work folder's own unless others are named. Judgments are read here alone.
    """
    from umr.data.workspace import open_workspace
    from umr.judge import first_and_newest, judge, read_test_set

    workspace = open_workspace(work, reporter)
    test = read_test_set(workspace, qrels, queries or (), passages or (), lang, reporter)
    names = tuple(name.strip() for name in metrics.split(",") if name.strip())
    first, newest = (round, None) if round is not None else first_and_newest(workspace)
    before, _ = judge(workspace, test, first, names, top_k, device, reporter, index)
    if newest is None:
        return _single(before, first)
    after, _ = judge(workspace, test, newest, names, top_k, device, reporter, index)
    return compared(before, after, newest)


def _single(evaluation: Evaluation, number: int | None) -> Result:
    from umr.evaluate import evaluation_table

    return Result(
        {"round": number, **evaluation.data()},
        [evaluation_table(evaluation, f"encoder of round {number}")],
    )


def compared(before: Evaluation, after: Evaluation, newest: int) -> Result:
    """The table of two evaluations side by side."""
    from umr.evaluate import compare, comparison_table

    found = [compare(before, after, metric=name) for name in before.metrics]
    data: dict[str, Any] = {
        "before": before.data(),
        "after": after.data(),
        "comparisons": [asdict(c) for c in found],
        "rounds": [0, newest],
    }
    return Result(data, [comparison_table(found, f"encoder of round 0 -> encoder of round {newest}")])


command = make_command(evaluate)
