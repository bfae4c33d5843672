"""Evaluation of a work folder's encoders on judged queries. Gold enters here and nowhere before."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from umr.manifest import digest
from umr.progress import Reporter, Reporting, reporter_of
from umr.retrieve import Which, choose_encoder, name_of, retrieve


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
    qrels: Path | str,
    queries: Inputs = (),
    passages: Inputs = (),
    lang: str | None = None,
    reporter: Reporting = None,
) -> TestSet:
    """Open judged queries.

    Arguments:
        workspace: gives its own queries and passages where none are named.
        qrels: TREC or BEIR judgments.
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
        read_qrels(qrels),
    )
    _check(found, Path(qrels), reporter)
    absent = len(set(found.qrels.grades) - set(found.queries.ids()))
    if absent:
        reporter.say(f"{absent:,} judged queries are not among the {len(found.queries):,} queries: left out")
    return found


def _check(test: TestSet, path: Path, reporter: Reporter) -> None:
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

    Returns:
        the evaluation, and what was retrieved.
    """
    reporter = reporter_of(reporter)
    chosen = choose_encoder(workspace, which)
    reporter.say(f"measuring {name_of(chosen)}")
    found = retrieve(workspace, test.queries, test.passages, chosen, depth_for(metrics, k), device, reporter, index)
    languages: Mapping[str, str] = dict(zip(found.query_ids, found.langs, strict=True))
    asked = Qrels({q: grades for q, grades in test.qrels.grades.items() if q in languages})
    return evaluate_run(found.run(test.passages), asked, languages, metrics), found
