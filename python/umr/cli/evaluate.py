"""`umr eval`: what encoders and runs find, measured side by side; the only command that reads judgments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umr.cli.options import Device, Lang, Passages, Queries, option
from umr.cli.output import Result
from umr.cli.search import INDEX, round_option, which_encoder
from umr.config import Index
from umr.data.workspace import Workspace, open_workspace
from umr.errors import UsageError
from umr.models import cache_folder
from umr.progress import Reporter
from umr.progress.terminal import Form

if TYPE_CHECKING:
    from umr.evaluate import Evaluation
    from umr.evaluate.table import Grid
    from umr.evaluate.xor_retrieve import XorScore
    from umr.retrieve import Which

METRICS, TOP_K = "R@1,R@5,MRR,nDCG@10", 100
XOR, FULL, CONVERTED = "xor-retrieve", "xor-full", ("lareqa", "mkqa")
NAMED = "miracl/LANG", "mrtydi/LANG", "beir/NAME", "lareqa/xquad-r", "lareqa/mlqa-r", "mkqa"
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="WORK", help="Work folders, encoders or TREC runs; each is compared with the first.", show_default=False),
]

Qrels = Annotated[Path | None, option(help="Judgments: TREC `qid 0 docid rel` or BEIR TSV, .gz too.", unit="file", panel="Input")]
MEASURES = f"Measures: R@k, Success@k, MRR, nDCG@k, mAP, P@k. (default: {METRICS}, or the benchmark's)"
Tasks = Annotated[list[str] | None, option(help="A task of mteb; may be repeated. Its result files are kept.", unit="name", panel="Input")]
Card = Annotated[bool, option("--card", help="Put the scores into the card of the work folder's encoder.", panel="Output")]
Metrics = Annotated[str | None, option(help=MEASURES, unit="names", panel="Measures")]


def evaluate(
    reporter: Reporter,
    names: Names = None,
    qrels: Qrels = None,
    queries: Queries = None,
    passages: Passages = None,
    lang: Lang = None,
    round: Annotated[str | None, round_option("Measure this encoder alone: the one trained in this round, or first.")] = None,
    benchmark: Annotated[str | None, option(help=f"A benchmark: {XOR}, {FULL}, {', '.join(NAMED)}.", unit="name", panel="Input")] = None,
    gold: Annotated[Path | None, option(help="Of XOR: the questions with their answers.", unit="file", panel="Input")] = None,
    predictions: Annotated[
        Path | None,
        option(help="Of XOR: what was found, to be scored; with a work folder it is written.", unit="file", panel="Input"),
    ] = None,
    data: Annotated[
        Path | None,
        option(help="Folder of the benchmark's files, or of mteb's results. (default: in the cache)", unit="folder", panel="Input"),
    ] = None,
    mteb: Tasks = None,
    metrics: Metrics = None,
    top_k: Annotated[
        int, option(help=f"Passages retrieved for every query. (default: {TOP_K})", unit="passages", min=1, panel="Measures")
    ] = TOP_K,
    device: Device = "auto",
    index: Annotated[Index, option(help=INDEX.format("exact"), unit="choice", panel="Resources")] = "exact",
    form: Annotated[
        Form, option("--format", help="Form of the table. (table, markdown, latex, csv; default: table)", unit="choice", panel="Output")
    ] = "table",
    card: Card = False,
) -> Result:
    """Measure encoders on judged queries, by language, and say whether they differ by more than chance.

    Of a work folder alone the first and the newest encoder are compared.

    Queries and passages are those of the work folder unless others are named. No other command reads judgments.
    """
    family = (benchmark or "").partition("/")[0]
    scored = "mteb" if mteb else family if family in (XOR, FULL, *CONVERTED) else "other benchmarks" if benchmark else "qrels"
    own = {"qrels": qrels, "queries": queries, "passages": passages, "lang": lang, "metrics": metrics, "gold": gold}
    forms = {"index": index != "exact", "format": form != "table", "top-k": top_k != TOP_K}
    _refuse_foreign(scored, {**own, "predictions": predictions, "data": data, "round": round, "card": card, **forms})
    if benchmark in (XOR, FULL):
        return _xor(benchmark, names or [], gold, predictions, which_encoder(round), top_k, device, index, form, reporter)
    if mteb and names:
        return _mteb(names, mteb, data, which_encoder(round), device, reporter)
    if (qrels is None and benchmark is None) or not names:
        raise UsageError("nothing to measure", f"umr eval WORK --qrels FILE, or umr eval --benchmark {XOR} --predictions FILE --gold FILE")
    from umr.judge.systems import Measure, benchmark_measure, measure

    asked = tuple(name.strip() for name in (metrics or METRICS).split(",") if name.strip())
    how = Measure(qrels or Path(), tuple(queries or ()), tuple(passages or ()), lang, asked, top_k, device, index)
    if benchmark is not None:
        how = benchmark_measure(benchmark, data, how, metrics is None, reporter)
    trained = _trained(names, which_encoder(round)) if card else None
    found = measure(names, how, which_encoder(round), reporter)
    if trained:
        _put_into_card(*trained, benchmark or Path(str(qrels)).name, found, reporter)
    return _compared(found, form)


BELONGS = {
    "qrels": {"qrels", "queries", "passages", "lang", "metrics", "round", "index", "format", "top-k", "card"},
    "other benchmarks": {"lang", "metrics", "round", "data", "index", "format", "top-k", "card"},
    "lareqa": {"metrics", "round", "data", "index", "format", "card"},
    "mkqa": {"passages", "metrics", "round", "data", "index", "format", "top-k", "card"},
    XOR: {"gold", "predictions", "round", "index", "format", "top-k"},
    FULL: {"gold", "predictions", "round", "index", "top-k"},
    "mteb": {"data", "round"},
}
"""What is scored -> the options that say what and how."""


def _refuse_foreign(scored: str, given: Mapping[str, object]) -> None:
    foreign = [name for name, value in given.items() if value and name not in BELONGS[scored]]
    if foreign:
        raise UsageError(
            f"--{foreign[0]} does not belong to {scored}", f"it takes {', '.join(f'--{name}' for name in sorted(BELONGS[scored]))}"
        )


def _trained(names: list[str], which: Which | None) -> tuple[Workspace, int]:
    """The one work folder that is measured, and the round that trained its encoder.

    Raises:
        UsageError: there is another name, or the encoder has no card.
    """
    from umr.judge.systems import kind_of
    from umr.retrieve import choose_encoder

    if len(names) != 1 or kind_of(names[0]) != "work":
        raise UsageError(f"--card is for one work folder, and {len(names)} names are given", "umr eval WORK --qrels FILE --card")
    work = open_workspace(Path(names[0]).expanduser())
    number = choose_encoder(work, which)
    if number == "first":
        raise UsageError("--card is for an encoder that umr trained, and none is measured", "train a round, or leave --card out")
    return work, number


def _put_into_card(work: Workspace, number: int, title: str, found: Mapping[str, Evaluation], reporter: Reporter) -> None:
    from umr.evaluate import evaluation_table
    from umr.train.card import add_scores

    table = evaluation_table(list(found.values())[-1], title).shown("markdown")
    reporter.say(f"scores are in {add_scores(work, number, str(table), reporter)}")


def _compared(found: Mapping[str, Evaluation], form: Form) -> Result:
    """One system by itself, or each of several beside the first."""
    from umr.evaluate import compare, comparison_table, evaluation_table

    (first, before), *others = found.items()
    if not others:
        return Result({"name": first, **before.data()}, [evaluation_table(before, first).shown(form)])
    compared = {name: [compare(before, after, metric=metric) for metric in before.metrics] for name, after in others}
    tables = [comparison_table(rows, names=(first, name)).shown(form) for name, rows in compared.items()]
    if form == "csv":
        tables = [tables[0], *(str(table).partition("\n")[2] for table in tables[1:])]
    values = {
        "systems": {name: one.data() for name, one in found.items()},
        "comparisons": [{"before": first, "after": name, **asdict(c)} for name, rows in compared.items() for c in rows],
    }
    return Result(values, tables)


def _mteb(names: list[str], tasks: list[str], data: Path | None, which: Which | None, device: str, reporter: Reporter) -> Result:
    """Main scores of encoders on tasks of mteb."""
    from umr.judge.mteb import evaluate_mteb
    from umr.judge.systems import encoder_name

    folder = data or cache_folder().parent / "evaluation" / "mteb"
    found = {name: evaluate_mteb(encoder_name(name, which), tasks, folder, device, reporter) for name in names}
    lines = [f"{name}  {task}  {100 * score:.2f}" for name, row in found.items() for task, score in row.items()]
    return Result({"scores": found, "folder": str(folder)}, [*lines])


def _xor(
    benchmark: str, names: list[str], gold: Path | None, predictions: Path | None, which: Which | None, k: int, device: str,
    index: Index, form: Form, reporter: Reporter,
) -> Result:  # fmt: skip
    """The official score of XOR-Retrieve, of predictions or of a work folder; what a reader of XOR-Full takes."""
    from umr.evaluate.token_limit import word_tokenizer
    from umr.evaluate.xor_retrieve import read_gold, read_predictions, xor_score
    from umr.judge.xor import retrieve_for, write_for_reader, write_predictions

    if gold is None or len(names) > 1 or (not names and (predictions is None or benchmark == FULL)):
        raise UsageError(f"{benchmark} needs --gold, and either --predictions or one work folder", "docs/evaluation.md shows both")
    answers = read_gold(gold)
    if benchmark == XOR:
        word_tokenizer()  # missed before anything is encoded
    if names:
        work = open_workspace(Path(names[0]), reporter)
        found = retrieve_for(work, gold, which, k, device, reporter, index)
        predictions = predictions or work.layout.folder / "evaluation" / f"{benchmark}.json"
        if benchmark == FULL:
            write_for_reader(predictions, found, {name: one.answers for name, one in answers.items()})
            return Result({"questions": len(found), "predictions": str(predictions)}, [f"{len(found):,} questions in {predictions}"])
        write_predictions(predictions, found)
        reporter.say(f"predictions: {predictions}")
    score = xor_score(read_predictions(predictions or Path()), answers, reporter)
    return Result(score.data(), [_table(score).shown(form)])


def _table(score: XorScore) -> Grid:
    """A row a language and the macro mean, with what a perfect retriever could reach."""
    from umr.evaluate.table import Grid

    rows = {**score.hits, "ceiling": score.reachable}
    cells = {lang: [100 * row[lang] / n for row in rows.values()] for lang, n in score.counted.items()}
    cells["macro"] = [score.macro(row) for row in rows.values()]
    counts = {**score.counted, "macro": sum(score.counted.values())}
    note = "ceiling: questions with an answer that tokenising leaves whole; hardly any passage can hold the others"
    lines = [(name, f"{counts[name]:,}", *(f"{value:.1f}" for value in values)) for name, values in cells.items()]
    return Grid(("language", "questions", *rows), lines, "XOR-Retrieve", note)
