"""`umr eval`: what encoders and runs find, measured side by side; the only command that reads judgments."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umr.cli.options import Device, Lang, Passages, Queries, option
from umr.cli.output import Result
from umr.cli.search import INDEX, round_option, which_encoder
from umr.config import Index
from umr.data.workspace import open_workspace
from umr.errors import UsageError
from umr.progress import Reporter
from umr.progress.terminal import Form

if TYPE_CHECKING:
    from umr.evaluate.table import Grid
    from umr.evaluate.xor_retrieve import XorScore
    from umr.retrieve import Which

METRICS = "R@1,R@5,MRR,nDCG@10"
XOR = "xor-retrieve"
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="WORK...", help="Work folders, encoders or TREC runs; each is compared with the first.", show_default=False),
]


def evaluate(
    reporter: Reporter,
    names: Names = None,
    qrels: Annotated[
        Path | None, option(help="Judgments: TREC `qid 0 docid rel` or BEIR TSV, .gz too.", unit="file", panel="Input")
    ] = None,
    queries: Queries = None,
    passages: Passages = None,
    lang: Lang = None,
    round: Annotated[str | None, round_option("Measure this encoder alone: the one trained in this round, or first.")] = None,
    benchmark: Annotated[str | None, option(help=f"A benchmark with a score of its own. ({XOR})", unit="name", panel="Input")] = None,
    gold: Annotated[Path | None, option(help="Of the benchmark: its questions with their answers.", unit="file", panel="Input")] = None,
    predictions: Annotated[
        Path | None,
        option(help="Of the benchmark: what was found, to be scored; with a work folder it is written.", unit="file", panel="Input"),
    ] = None,
    metrics: Annotated[
        str, option(help=f"Measures: R@k, Success@k, MRR, nDCG@k, mAP, P@k. (default: {METRICS})", unit="names", panel="Measures")
    ] = METRICS,
    top_k: Annotated[
        int, option(help="Passages retrieved for every query. (default: 100)", unit="passages", min=1, panel="Measures")
    ] = 100,
    device: Device = "auto",
    index: Annotated[Index, option(help=INDEX.format("exact"), unit="choice", panel="Resources")] = "exact",
    form: Annotated[
        Form, option("--format", help="Form of the table. (table, markdown, latex, csv; default: table)", unit="choice", panel="Output")
    ] = "table",
) -> Result:
    """Measure encoders on judged queries, by language, and say whether they differ by more than chance.

    Of a work folder alone the first and the newest encoder are compared. The queries and passages are those of the work folder
    unless others are named. No other command reads judgments.
    """
    if benchmark is not None:
        return _xor(benchmark, names or [], gold, predictions, which_encoder(round), top_k, device, form, reporter)
    if qrels is None or not names:
        raise UsageError(
            "nothing to measure", "umr eval WORK --qrels FILE, or umr eval --benchmark xor-retrieve --predictions FILE --gold FILE"
        )
    from umr.evaluate import compare, comparison_table, evaluation_table
    from umr.judge.systems import Measure, measure

    asked = tuple(name.strip() for name in metrics.split(",") if name.strip())
    how = Measure(qrels, tuple(queries or ()), tuple(passages or ()), lang, asked, top_k, device, index)
    found = measure(names, how, which_encoder(round), reporter)
    (first, before), *others = found.items()
    if not others:
        return Result({"name": first, **before.data()}, [evaluation_table(before, first).shown(form)])
    compared = {name: [compare(before, after, metric=metric) for metric in before.metrics] for name, after in others}
    tables = [comparison_table(rows, f"{first} -> {name}").shown(form) for name, rows in compared.items()]
    data = {
        "systems": {name: one.data() for name, one in found.items()},
        "comparisons": [{"before": first, "after": name, **asdict(c)} for name, rows in compared.items() for c in rows],
    }
    return Result(data, tables)


def _xor(
    benchmark: str, names: list[str], gold: Path | None, predictions: Path | None, which: Which | None, k: int, device: str,
    form: Form, reporter: Reporter,
) -> Result:  # fmt: skip
    """The official score of XOR-Retrieve, of predictions or of a work folder."""
    from umr.evaluate.xor_retrieve import read_gold, read_predictions, xor_score
    from umr.judge.xor import predict, write_predictions

    if benchmark != XOR:
        raise UsageError(f"--benchmark is {benchmark!r}", f"known: {XOR}")
    if gold is None or len(names) > 1 or (not names and predictions is None):
        raise UsageError(f"{XOR} needs --gold, and either --predictions or one work folder", "docs/evaluation.md shows both")
    answers = read_gold(gold)
    if names:
        work = open_workspace(Path(names[0]), reporter)
        found = predict(work, gold, which, k, device, reporter)
        place = predictions or work.layout.folder / "evaluation" / f"{XOR}.json"
        write_predictions(place, found)
        reporter.say(f"predictions: {place}")
    else:
        found = read_predictions(predictions) if predictions else []
    score = xor_score(found, answers, reporter)
    return Result(score.data(), [_table(score).shown(form)])


def _table(score: XorScore) -> Grid:
    """A row a language and the macro mean, with what a perfect retriever could reach."""
    from umr.evaluate.table import Grid

    rows = {**score.hits, "ceiling": score.reachable}
    cells = {lang: [100 * row[lang] / n for row in rows.values()] for lang, n in score.counted.items()}
    cells["macro"] = [score.macro(row) for row in rows.values()]
    counts = {**score.counted, "macro": sum(score.counted.values())}
    note = "ceiling: questions with an answer that tokenising leaves whole; no passage can hold the others"
    lines = [(name, f"{counts[name]:,}", *(f"{value:.1f}" for value in values)) for name, values in cells.items()]
    return Grid(("language", "questions", *rows), lines, "XOR-Retrieve", note)
