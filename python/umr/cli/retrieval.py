"""`umr eval` and `umr search`: what the encoder of a round finds."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umr.cli.options import Device, Lang, Passages, Queries, Work, option
from umr.cli.output import Result
from umr.config import Index
from umr.data.workspace import open_workspace
from umr.errors import UsageError
from umr.progress import Reporter
from umr.progress.terminal import clean

if TYPE_CHECKING:
    from umr.retrieve import Hit, Which

METRICS = "R@1,R@5,MRR,nDCG@10"
INDEX = "How to search: exact, or hnsw, an approximate index, whose recall is said. (exact, hnsw; default: {})"


def _round(help: str) -> Any:
    return option("--round", help=help, unit="number or first", panel="Input")


def evaluate(
    work: Work,
    reporter: Reporter,
    qrels: Annotated[Path, option(help="Judgments: TREC `qid 0 docid rel` or BEIR TSV, .gz too.", unit="file", panel="Input")],
    queries: Queries = None,
    passages: Passages = None,
    lang: Lang = None,
    round: Annotated[str | None, _round("Measure this encoder alone: the one trained in this round, or first.")] = None,
    metrics: Annotated[
        str, option(help=f"Measures: R@k, Success@k, MRR, nDCG@k, mAP, P@k. (default: {METRICS})", unit="names", panel="Measures")
    ] = METRICS,
    top_k: Annotated[
        int, option(help="Passages retrieved for every query. (default: 100)", unit="passages", min=1, panel="Measures")
    ] = 100,
    device: Device = "auto",
    index: Annotated[Index, option(help=INDEX.format("exact"), unit="choice", panel="Resources")] = "exact",
) -> Result:
    """Measure the first and the newest encoder on judged queries, by language, with a bootstrap interval of the difference.

    The queries and passages are those of the work folder unless others are named. No other command reads judgments.
    """
    from umr.evaluate import compare, comparison_table, evaluation_table
    from umr.judge import judge, read_test_set
    from umr.retrieve import encoders, name_of

    workspace = open_workspace(work, reporter)
    test = read_test_set(workspace, qrels, [Path(q) for q in queries or ()], [Path(p) for p in passages or ()], lang, reporter)
    names = tuple(name.strip() for name in metrics.split(",") if name.strip())
    asked = _which(round)
    first, *newer = encoders(workspace) if asked is None else [asked]
    before, _ = judge(workspace, test, first, names, top_k, device, reporter, index)
    if not newer:
        return Result({"round": first, **before.data()}, [evaluation_table(before, name_of(first))])
    after, _ = judge(workspace, test, newer[-1], names, top_k, device, reporter, index)
    found = [compare(before, after, metric=name) for name in before.metrics]
    data = {
        "before": before.data(), "after": after.data(),
        "comparisons": [asdict(c) for c in found], "rounds": [first, newer[-1]],
    }  # fmt: skip
    return Result(data, [comparison_table(found, f"{name_of(first)} -> {name_of(newer[-1])}")])


def search(
    work: Work,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The query, in quotes.", show_default=False)],
    reporter: Reporter,
    top_k: Annotated[int, option("--top-k", "-k", help="Passages shown. (default: 5)", unit="passages", min=1, panel="Output")] = 5,
    lang: Lang = None,
    round: Annotated[str | None, _round("Search with the encoder trained in this round, or the first. (default: the newest)")] = None,
    device: Device = "auto",
    index: Annotated[Index | None, option(help=INDEX.format("as the round was mined"), unit="choice", panel="Resources")] = None,
) -> Result:
    """Show the top passages of a query."""
    from umr.retrieve import search as find

    hits = find(open_workspace(work, reporter), query, top_k, lang, _which(round), device, reporter, index)
    return Result({"query": query, "hits": [asdict(h) for h in hits]}, [_shown(hit) for hit in hits])


def _which(round: str | None) -> Which | None:
    """The encoder that `--round` names."""
    if round is None:
        return None
    if round == "first":
        return "first"
    if not round.isdigit():
        raise UsageError(f"--round is {round!r}, expected a number or `first`", "`umr status` shows the rounds")
    return int(round)


def _shown(hit: Hit) -> str:
    text = textwrap.fill(textwrap.shorten(clean(hit.text), 400, placeholder=" ..."), 96, initial_indent="   ", subsequent_indent="   ")
    return f"{hit.rank}. {clean(hit.title or hit.passage_id)}  ({clean(hit.passage_id)}, {hit.score:.4f})\n{text}\n"
