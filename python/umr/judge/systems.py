"""What `umr eval` measures side by side: encoders of work folders, other encoders, and TREC runs of any system."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from umr.config import EncoderConfig, Index
from umr.data.corpus import absolute
from umr.data.inputs import as_inputs, input_files
from umr.data.qrels import Qrels, read_qrels
from umr.data.queries import open_queries
from umr.data.trec import read_rankings
from umr.data.workspace import Workspace, create_workspace, open_workspace
from umr.errors import InputError, MismatchError, UsageError
from umr.evaluate import DEFAULT_METRICS, Evaluation, evaluate_run
from umr.evaluate.answers import Answers
from umr.evaluate.metrics import first_of
from umr.exchange.benchmarks import CONVERTED, find_benchmark
from umr.exchange.converted import convert_lareqa, convert_mkqa
from umr.judge import depth_for, judge, read_test_set
from umr.layout import WorkLayout
from umr.manifest import digest, read_manifest
from umr.models import PYPI_MODELS, cache_folder
from umr.progress import Reporter
from umr.retrieve import Which, choose_encoder, encoders, name_of

Kind = Literal["work", "encoder", "run"]
ENCODER_FILES = ("config.json", "modules.json", "query", "passage")
RUN_ENDINGS = (".trec", ".run", ".txt", ".tsv", ".gz", ".res")  # by which a path that is not there is told from a hub id
ANY_LANGUAGE = "all"  # of queries whose languages nobody said
OF_WHAT_WAS_FOUND = ("Success", "MRR", "P")  # measures that need not know what was not found


@dataclass(frozen=True)
class Measure:
    """How systems are measured.

    Arguments:
        qrels: the judgments, or their file.
        queries, passages: files; where there are none, those of a work folder.
        lang: of every query, or None.
        metrics: names of ir_measures, and MRR.
        k: passages retrieved for every query.
        device: auto, cpu, cuda or cuda:N.
        index: exact or hnsw.
        answers: as `judge` takes them.
    """

    qrels: Path | Qrels
    queries: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()
    lang: str | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    k: int = 100
    device: str = "auto"
    index: Index = "exact"
    answers: Answers | None = None


def benchmark_measure(name: str, folder: Path | None, how: Measure, own_metrics: bool, reporter: Reporter) -> Measure:
    """How a benchmark is measured: its files, which are checked, and its metrics unless others were asked for.

    Raises:
        UsageError, InputError, MismatchError: as `find_benchmark` and `Benchmark.require_whole`.
    """
    found = find_benchmark(name, folder)
    how = replace(how, metrics=found.metrics if own_metrics else how.metrics)
    if name in CONVERTED:
        return _converted(name, [Path(file) for file in found.queries], how, reporter)
    found.require_whole(read_qrels(found.qrels).grades)
    return replace(how, qrels=found.qrels, queries=found.queries, passages=found.passages, lang=found.lang or how.lang)


def _converted(name: str, files: Sequence[Path], how: Measure, reporter: Reporter) -> Measure:
    """How a benchmark of `CONVERTED` is measured; of LAReQA the whole ranking counts where a metric has no cutoff."""
    if name != "mkqa":
        made, count = convert_lareqa(name.partition("/")[2], files)
        queries, passages = ((str(made / f"{what}.jsonl"),) for what in ("queries", "passages"))
        k = how.k if all("@" in metric for metric in how.metrics) else count
        return replace(how, qrels=made / "qrels.txt", queries=queries, passages=passages, k=k)
    other = [metric for metric in how.metrics if metric.partition("@")[0] not in OF_WHAT_WAS_FOUND]
    if other:
        raise UsageError(f"mkqa has no {other[0]}: only passages that are found are judged", "take Success@k, MRR@k or P@k")
    path, answers = convert_mkqa(files[0], reporter)
    return replace(how, qrels=Qrels({query: {} for query in answers}), queries=(str(path),), answers=answers)


def kind_of(name: str) -> Kind:
    """Whether a name is that of a work folder, of an encoder or of a TREC run.

    Raises:
        InputError: there is nothing of that name.
    """
    path, hub_id = Path(name).expanduser(), re.fullmatch(r"[\w-]+/[\w.-]+", name)
    if WorkLayout(path).manifest.exists():
        return "work"
    if path.is_file():
        return "run"
    if (
        any((path / file).exists() for file in ENCODER_FILES)
        or name in PYPI_MODELS
        or (hub_id and not path.parent.exists() and path.suffix not in RUN_ENDINGS)
    ):
        return "encoder"
    raise InputError(
        f"{name} is not a work folder, an encoder or a TREC run",
        "check the path; `umr mine WORK` begins a work folder, a hub id is OWNER/NAME",
    )


def encoder_name(name: str, which: Which | None) -> str:
    """The encoder that a name stands for: itself, or of a work folder the one asked for.

    Raises:
        InputError: it is a run, or the encoder that the work began with, which has settings beside its name.
    """
    if kind_of(name) == "encoder":
        return name
    if kind_of(name) == "work":
        work = open_workspace(Path(name).expanduser())
        chosen = choose_encoder(work, which)
        if chosen != "first":
            return str(work.layout.round(chosen).encoder)
    raise InputError(f"{name}: no trained encoder", "name a saved encoder, or a work folder with a trained round")


def measure(names: Sequence[str], how: Measure, which: Which | None, reporter: Reporter) -> dict[str, Evaluation]:
    """Measure systems on the same queries.

    A work folder alone gives two: the encoder that it began with and the newest. An encoder is run in a work folder of its own, which is
    kept in the cache.

    Arguments:
        names: work folders, encoders, TREC runs; at least one.
        how: what is asked of all of them.
        which: the encoder of work folders; None for the newest.
        reporter: shows the progress.

    Returns:
        name -> evaluation, in the order given.

    Raises:
        InputError, UsageError: a name that is nothing, or queries or passages that are known from nowhere.
        MismatchError: work folders of other passages or queries, and none are named.
    """
    kinds, gold = {name: kind_of(name) for name in names}, how.qrels if isinstance(how.qrels, Qrels) else read_qrels(how.qrels)
    if how.answers is not None and "run" in kinds.values():
        raise UsageError("a run has no texts, in which answers could be found", "name work folders or encoders")
    works = {name: open_workspace(Path(name).expanduser(), reporter) for name, kind in kinds.items() if kind == "work"}
    first = next(iter(works.values()), None)
    for name, work in works.items():
        _require_same_test(name, work, first or work, how)
    if len(names) == 1 and first:
        ends = dict.fromkeys((encoders(first)[0], encoders(first)[-1]) if which is None else (which,))
        return {name_of(one): _of_work(first, how, one, reporter) for one in ends}
    found = {}
    for name, kind in kinds.items():
        if kind == "run":
            found[name] = _of_run(Path(name).expanduser(), how, gold, _languages(how, gold, first, reporter), reporter)
        elif kind == "work":
            found[name] = _of_work(works[name], how, which, reporter)
        else:
            found[name] = _of_work(_work_for(name, how, first, reporter), how, "first", reporter)
    return found


def _require_same_test(name: str, work: Workspace, first: Workspace, how: Measure) -> None:
    """Refuse to measure work folders side by side on passages or queries of their own."""
    sides = {"passages": (work.passages, first.passages), "queries": (work.queries.records, first.queries.records)}
    for what, (own, other) in sides.items():
        if not getattr(how, what) and own.fingerprint != other.fingerprint:
            raise MismatchError(
                f"{name} has other {what} than {first.layout.folder}", f"name those that both are measured on with --{what}"
            )


def _of_work(work: Workspace, how: Measure, which: Which | None, reporter: Reporter) -> Evaluation:
    test = read_test_set(work, how.qrels, as_inputs(how.queries), as_inputs(how.passages), how.lang, reporter)
    return judge(work, test, which, how.metrics, how.k, how.device, reporter, how.index, how.answers)[0]


def _of_run(path: Path, how: Measure, gold: Qrels, langs: Mapping[str, str], reporter: Reporter) -> Evaluation:
    """A run on the queries that encoders are measured on, and as deep."""
    asked = Qrels({query: grades for query, grades in gold.grades.items() if query in langs})
    if not asked.grades:
        raise InputError(f"{how.qrels}: none of its {len(gold):,} queries is among those named", "do the ids belong together?")
    if len(asked) < len(gold):
        reporter.say(f"{len(gold) - len(asked):,} judged queries are not among the {len(langs):,} queries: left out")
    depth, rankings = depth_for(how.metrics, how.k), read_rankings(path)
    if any(len(ranking) > depth for ranking in rankings.values()):
        reporter.say(f"{path}: the first {depth:,} passages of each query count (--top-k)")
    run = {query: first_of(ranking, depth) for query, ranking in rankings.items() if query in langs or query not in gold.grades}
    return evaluate_run(run, asked, langs, how.metrics)


def _languages(how: Measure, gold: Qrels, work: Workspace | None, reporter: Reporter) -> dict[str, str]:
    """Query -> language, of the queries that are named or those of a work folder; else one for all."""
    if how.queries:
        with tempfile.TemporaryDirectory(prefix="umr-eval-") as cache:
            files = input_files(as_inputs(how.queries), "queries", WorkLayout(Path(cache)))
            queries = open_queries(files, Path(cache), how.lang, reporter)
            return dict(zip(queries.ids(), queries.langs, strict=True))
    if work:
        return dict(zip(work.queries.ids(), work.queries.langs, strict=True))
    return dict.fromkeys(gold.grades, how.lang or ANY_LANGUAGE)


def _work_for(encoder: str, how: Measure, work: Workspace | None, reporter: Reporter) -> Workspace:
    """A work folder for an encoder over the passages and queries that are measured."""
    given: dict[str, Sequence[str]] = {"passages": how.passages, "queries": how.queries}
    lang = how.lang
    if work:
        began: Mapping[str, Any] = read_manifest(work.layout.manifest, "work")
        lang = lang or (None if how.queries else began["lang"])
        given = {what: files or [str(work.layout.folder / path) for path in began[what]] for what, files in given.items()}
    for what, files in given.items():
        if not files:
            raise UsageError(f"the encoder {encoder!r} needs {what}", f"name them with --{what}, or name a work folder too")
    named = {what: [absolute(path) for path in files] for what, files in given.items()}
    folder = cache_folder().parent / "evaluation" / digest({"encoder": absolute(encoder), "lang": lang, **named})[:16]
    reporter.say(f"vectors of {encoder} are kept in {folder}")
    return create_workspace(folder, as_inputs(given["passages"]), as_inputs(given["queries"]), EncoderConfig(model=encoder), lang, reporter)
