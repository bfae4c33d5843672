"""Evaluation of a work folder's encoders on judged queries. Gold enters here and nowhere before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umr._rust import Records
from umr.config import Index
from umr.data.candidates import Candidates
from umr.data.corpus import open_passages
from umr.data.inputs import Inputs, input_files
from umr.data.qrels import Qrels, read_qrels
from umr.data.queries import Queries, open_queries
from umr.data.workspace import Workspace
from umr.errors import InputError
from umr.evaluate import DEFAULT_METRICS, Evaluation, evaluate_run
from umr.evaluate.answers import Answers, answered
from umr.manifest import digest
from umr.progress import Reporter, Reporting, reporter_of
from umr.retrieve import Which, choose_encoder, name_of, retrieve

AT_ONCE = 2_000_000  # places of lists that are measured at once: as Python has them each takes some hundred bytes


@dataclass(frozen=True)
class TestSet:
    """Judged queries over passages.

    Arguments:
        queries: the queries, with or without judgments.
        passages: what they are searched in.
        qrels: the judgments.
    """

    __test__ = False  # pytest: not a test

    def __repr__(self) -> str:
        return f"TestSet({self.queries}, {len(self.passages):,} passages, {self.qrels})"

    queries: Queries
    passages: Records
    qrels: Qrels


def read_test_set(
    workspace: Workspace,
    qrels: Path | str | Qrels,
    queries: Inputs = (),
    passages: Inputs = (),
    lang: str | None = None,
    reporter: Reporting = None,
) -> TestSet:
    """Open judged queries.

    Arguments:
        workspace: gives its own queries and passages where none are named.
        qrels: a file of TREC or BEIR judgments, or what was read.
        queries, passages: as `create_workspace` takes them.
        lang: the language of every query, or None.
        reporter: told what was read.

    Raises:
        InputError: no judged query is among the queries, or no judged passage among the passages.
    """
    reporter, layout = reporter_of(reporter), workspace.layout
    named = {"queries": input_files(queries, "queries", layout), "passages": input_files(passages, "passages", layout)}
    cache = layout.folder / "evaluation" / digest(named)[:16]  # of their indexes
    found = TestSet(
        open_queries(named["queries"], cache, lang, reporter) if named["queries"] else workspace.queries,
        open_passages(named["passages"], cache, reporter) if named["passages"] else workspace.passages,
        qrels if isinstance(qrels, Qrels) else read_qrels(qrels),
    )
    _check(found, qrels, reporter)
    absent = len(set(found.qrels.grades) - set(found.queries.ids()))
    if absent:
        reporter.say(f"{absent:,} judged queries are not among the {len(found.queries):,} queries: left out")
    return found


def _check(test: TestSet, path: Path | str | Qrels, reporter: Reporter) -> None:
    judged = set(test.qrels.grades)
    if not judged & set(test.queries.ids()):
        raise InputError(
            f"{path}: none of its {len(judged):,} query ids is among the {len(test.queries):,} queries",
            "name the judged queries with --queries",
        )
    wanted = sorted({p for grades in test.qrels.grades.values() for p, grade in grades.items() if grade > 0})
    found = test.passages.find(wanted)
    lost = int((found < 0).sum())
    if lost and lost == len(wanted):
        raise InputError(
            f"{path}: none of its relevant passage ids is in the corpus (the first is {wanted[0]!r})",
            "name the judged passages with --passages",
        )
    if lost:
        first = wanted[int(np.argmin(found))]
        reporter.warn(f"{lost:,} of {len(wanted):,} relevant passages are not in the corpus (the first is {first!r}): not found")


def depth_for(metrics: Sequence[str], k: int) -> int:
    """How many passages of a query count: k, or as many as the deepest metric asks for."""
    return max([k, *(int(cut) for name in metrics for cut in re.findall(r"@(\d+)$", name))])


def judge(
    workspace: Workspace,
    test: TestSet,
    which: Which | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    k: int = 100,
    device: str = "auto",
    reporter: Reporting = None,
    index: Index = "exact",
    answers: Answers | None = None,
) -> tuple[Evaluation, Candidates]:
    """Retrieve with an encoder of the work folder and measure it.

    Arguments:
        workspace: whose encoder is measured.
        test: judged queries.
        which: the encoder: `first`, which the work began with, or the round that trained it; None for the newest.
        metrics: names of ir_measures, and MRR.
        k: passages retrieved for every query; as many as the deepest metric asks for where that is more.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows the progress.
        index: exact, however the round was mined, or hnsw.
        answers: of every query, in place of judgments: a passage that is found and holds one is relevant.

    Returns:
        the evaluation, and what was retrieved.
    """
    reporter = reporter_of(reporter)
    chosen = choose_encoder(workspace, which)
    reporter.say(f"measuring {name_of(chosen)}")
    found = retrieve(workspace, test.queries, test.passages, chosen, depth_for(metrics, k), device, reporter, index)
    qrels = test.qrels if answers is None else Qrels(answered(found, test.passages, answers))
    return _evaluate(found, test.passages, qrels, metrics), found


def _evaluate(found: Candidates, passages: Records, qrels: Qrels, metrics: Sequence[str]) -> Evaluation:
    """Measure some queries after the other, in the order of the judgments: whole rankings would not fit memory as a run."""
    at = {query: row for row, query in enumerate(found.query_ids)}
    asked, parts = [query for query in qrels.grades if query in at], list[Evaluation]()
    step = max(1, AT_ONCE // max(1, found.rows.shape[1]))
    for some in (asked[start : start + step] for start in range(0, max(1, len(asked)), step)):
        rows = [at[query] for query in some]
        part = Candidates(some, [found.langs[row] for row in rows], found.rows[rows], found.scores[rows])
        langs = dict(zip(some, part.langs, strict=True))
        parts.append(evaluate_run(part.run(passages), Qrels({query: qrels.grades[query] for query in some}), langs, metrics))
    return Evaluation(
        {name: {q: value for part in parts for q, value in part.per_query[name].items()} for name in parts[0].per_query},
        {query: lang for part in parts for query, lang in part.languages.items()},
        unjudged=len(at) - len(asked),
        without_relevant=sum(part.without_relevant for part in parts),
    )
