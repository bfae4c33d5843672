"""Labels alone: is the order that labelling gives the mined candidates a better one, before anything is trained?

multilingual-e5-small mines the 560 unlabelled queries of train-small in its 1,900 passages (16 candidates each), as in
benches/quality.py, and Gemma 3 270M labels them in every way that the options allow. The candidates in each order are measured by
the passages that the queries were written from: R@k is the share of queries that have one among the first k. Gold is read
for this alone. What a way costs beside the likelihoods: nothing.

All queries are scored in fp32 and in bf16, too: R@1 of both, and Kendall's tau of the two orders of a query's candidates.

Targets: with fuse 1 the macro R@1 is above the retriever's and above the likelihood's; the mean tau is at least 0.965; the macro
R@1 in bf16 is within 0.5 of that in fp32.

    .venv/bin/python benches/labels.py [--work FOLDER]    about half an hour on 2 cores; a killed run continues, a second one looks up
    .venv/bin/python benches/labels.py --check            the same; exit 0 exactly when the targets hold

The work folder is its own: labelling again clears what was trained from the labels before.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import Report, bench, parser, require_file, require_model, timed
from benches.parts.inputs import E5, GEMMA
from benches.parts.relabel import FOUND, METRICS, Floats, agreement, change, judge_order, order_of, passage_ids
from benches.quality import open_work

if TYPE_CHECKING:
    from umr import Workspace
    from umr.data.candidates import Candidates
    from umr.evaluate import Evaluation

TOP = 16
RETRIEVER, LIKELIHOOD, FUSED = "retriever", "likelihood", "fuse 1"
WAYS: dict[str, dict[str, Any]] = {
    LIKELIHOOD: {},
    "fuse 0.5": {"fuse": 0.5},
    FUSED: {"fuse": 1.0},
    "correct average": {"correct": "average"},
    "average, fuse 0.5": {"correct": "average", "fuse": 0.5},
    "average, fuse 1": {"correct": "average", "fuse": 1.0},
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
}


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cell."""
    made = parser(__doc__)
    made.add_argument("--work", type=Path, default=Path("umr-labels"), help="work folder [default: umr-labels]")
    return made


def mined(args: argparse.Namespace, report: Report) -> tuple[Workspace, Candidates]:
    """Mine train-small, or find it mined: the work folder with the candidates of its round 0."""
    import umr
    from umr.progress.console import Console

    workspace = open_work(args)
    seconds, candidates = timed(lambda: umr.mine(workspace, umr.MineConfig(top_k=TOP), 0, Console()), 1, lambda: None)
    report.fact("mine, seconds", round(seconds, 1))
    return workspace, candidates


def measure(workspace: Workspace, candidates: Candidates, report: Report) -> tuple[dict[str, Evaluation], dict[str, Floats]]:
    """The retriever's order and that of every way to label, and the likelihoods [Q, k] of each way."""
    import umr
    from umr.data.qrels import read_qrels
    from umr.progress.console import Console

    gold = read_qrels(require_file("data", "train-small", "hidden", "gold.qrels.gz"))
    ids, found, scores = passage_ids(workspace, candidates), {}, {}
    found[RETRIEVER] = judge_order(candidates, candidates.scores, ids, gold)
    for name, ways in WAYS.items():
        label = partial(umr.label, workspace, umr.LabelConfig(lm=GEMMA, **ways), 0, Console(), force=True)
        seconds, labels = timed(label, 1, lambda: None)
        report.fact(f"label, {name}, seconds", round(seconds, 1))
        found[name], scores[name] = judge_order(candidates, order_of(labels), ids, gold), labels.scores
    return found, scores


def table(found: dict[str, Evaluation], report: Report) -> None:
    """A row for each way and metric, a column for each language; intervals are of the macro difference."""
    from umr.evaluate import compare

    first = found[RETRIEVER]
    report.row(metric="", order="queries", **{lang: str(n) for lang, n in first.counts.items()}, macro="")
    report.row(metric=f"R@{TOP}", order="any", **_cells(first, FOUND.format(k=TOP)))
    for metric, name in METRICS.items():
        for way, one in found.items():
            against = {
                f"95 % less {base}": "" if way == base else change(compare(found[base], one, metric=name))
                for base in (RETRIEVER, LIKELIHOOD)
            }
            report.row(metric=metric, order=way, **_cells(one, name), **against)
    ends = {way: 100 * found[way].macro[METRICS["R@1"]] for way in (RETRIEVER, LIKELIHOOD, FUSED)}
    for base in (RETRIEVER, LIKELIHOOD):
        report.target(f"macro R@1 of {FUSED}, above the {base}'s", ends[FUSED], ends[base], strict=True)
    single, half = (100 * found[precision].macro[METRICS["R@1"]] for precision in ("fp32", "bf16"))
    report.target("macro R@1 in bf16, away from fp32's", abs(half - single), 0.5, at_least=False)


def _cells(one: Evaluation, name: str) -> dict[str, str]:
    cells = {lang: row[name] for lang, row in one.per_language.items()} | {"macro": one.macro[name]}
    return {column: f"{100 * value:.1f}" for column, value in cells.items()}


def precisions(scores: dict[str, Floats], report: Report) -> None:
    """Kendall's tau of the labels in bf16 and in fp32."""
    tau, first, largest = agreement(scores["bf16"], scores["fp32"])
    report.fact("bf16 beside fp32", f"{len(tau)} queries, {tau.mean():.4f} mean tau, {tau.min():.3f} smallest")
    report.fact("bf16 beside fp32, same first passage", f"{first:.1%} of the queries; largest difference {largest:.4f} nats")
    report.target("mean Kendall tau of bf16 and fp32 labels", float(tau.mean()), 0.965)


def main(args: argparse.Namespace, report: Report) -> None:
    """Mine, label in every way, and compare."""
    for name in (E5, GEMMA):
        require_model(name)
    found, scores = measure(*mined(args, report), report)
    table(found, report)
    precisions(scores, report)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
