"""The paper's claim on real data: an encoder trained by its own pseudo labels beside one that is trained on gold pairs.

Starts: `gemma`, the first 13 layers of Gemma 3 270M, which never saw a pair of query and passage; `e5`, multilingual-e5-small,
which has. Labels are made by Gemma 3 270M. Queries and passages are a part of train-mix (parts/mix.py); the query side is
trained against frozen passages, or both sides (--freeze none). Rows:

    start      the start as it is
    umr        rounds of mine, label, train; a row for each round
    gold       the supervised twin: the same queries, candidates and training, with gold passages for labels (InfoNCE with mined negatives)
    bm25       no encoder: the words that query and passage share, alone and beside the start
    rerank     the start's 10 best passages, ordered by the label that they would get: --rerank queries a language of A, and `apart`

Umr and gold are trained in round 0 with each rate of --learning-rates and each of --temperatures, umr also with each share of --drops of
the queries left out, in as many steps. The one that is best on `apart` (or --choose) goes on, and is trained with every seed of --seeds.

Every encoder is measured without centring, with one mean a side, and with one a language, the last two also whitened (all estimated
on the texts searched, without gold): `apart`, queries of train-mix that are not trained on, R@1; `across`, 1,200 others with a right
passage in another language, mAP; XQuAD-R A, 12 languages against the 240 English passages, R@1; XQuAD-R B, all 2,880 passages, mAP. What
is chosen is chosen on `apart` or `across`. A killed run continues.

    .venv/bin/python benches/headline.py [--start gemma] [--rows start umr gold]    some hours on 2 cores, most of them labelling
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.centring import CENTRES
from benches.harness import Report, bench, parser, positive, require_model
from benches.parts.cell import TEMPERATURE, Run, write_sample
from benches.parts.gold import label_quality, write_gold_labels
from benches.parts.inputs import E5, GEMMA
from benches.parts.measured import CHOOSING, METRIC
from benches.parts.rankings import by_label, by_words


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    folder = Path.home() / ".cache/umr/benches/headline"
    made.add_argument("--work", type=Path, default=folder, help=f"folder of everything that is kept [default: {folder}]")
    made.add_argument("--start", choices=("gemma", "e5"), default="gemma")
    made.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    made.add_argument("--queries", type=positive, default=1200, help="to train on [default: 1,200]")
    made.add_argument("--apart", type=positive, default=600, help="of train-mix, to measure with [default: 600]")
    made.add_argument("--passages", type=positive, default=4000, help="of train-mix [default: 4,000]")
    made.add_argument("--rounds", type=positive, default=2)
    made.add_argument(
        "--a-language", type=positive, default=1190, help="queries of XQuAD-R a language that are measured [default: all 1,190]"
    )
    made.add_argument("--layers", type=positive, default=13, help="of Gemma that are kept [default: 13]")
    made.add_argument("--use", type=positive, default=None, help="train on so many of the queries [default: all]")
    made.add_argument("--freeze", choices=("passages", "none"), default="passages", help="which side is not trained [default: passages]")
    made.add_argument("--epochs", type=positive, default=4, help="of all queries; more where some are left out [default: 4]")
    made.add_argument("--batch", type=positive, default=32, help="queries of a step [default: 32]")
    made.add_argument("--drawn", type=positive, default=None, help="candidates of a query in a step [default: all]")
    made.add_argument("--fuse", type=float, default=1.0, help="weight of the retriever in the labels [default: 1]")
    made.add_argument("--label-temperature", type=float, default=0.1, help="divides the labels [default: 0.1]")
    made.add_argument("--per-language", type=int, default=0, help="candidates from every language, at least [default: 0]")
    made.add_argument("--bm25", action="store_true", help="mine with BM25 too")
    made.add_argument("--centres", nargs="+", choices=CENTRES, default=list(CENTRES), help="how rows are centred [default: all ways]")
    made.add_argument("--k", type=positive, default=16, help="candidates of a query [default: 16]")
    made.add_argument(
        "--learning-rates", nargs="+", type=float, default=[2e-5, 5e-5, 1e-4], help="tried on both sides [default: 2e-5 5e-5 1e-4]"
    )
    made.add_argument("--drops", nargs="+", type=float, default=[0.0, 0.5], help="tried on the side of umr [default: 0 0.5]")
    made.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the trainings that are chosen [default: 0]")
    made.add_argument(
        "--temperatures", nargs="+", type=float, default=[TEMPERATURE], help="of the student, tried on both sides [default: 0.05]"
    )
    made.add_argument("--rerank", type=positive, default=50, help="queries of A a language that are ranked again [default: 50]")
    made.add_argument("--merge", action="store_true", help="mix what was trained with the start, on both sides, by the validation loss")
    made.add_argument("--whiten", type=float, default=None, help="strength of the whitening, 0 to 1 [default: gemma 0.5, e5 0]")
    made.add_argument("--tasks", nargs="+", choices=tuple(METRIC), default=["apart", "A", "B"])
    made.add_argument(
        "--choose", choices=CHOOSING, default="apart", help="what rates, shares and temperatures are chosen by [default: apart]"
    )
    made.add_argument("--device", default="auto")
    return made


def start(run: Run) -> None:
    """The start as it is."""
    run.last["start"] = ["start"]
    run.measured("start", run.encoder)


def labelled(run: Run) -> None:
    """Round 0 up to its labels, which both sides begin with."""
    import umr
    from umr.progress.console import Console

    work, talk = run.work("labelled"), Console()
    run.stage("mine", lambda: umr.mine(work, run.mining, 0, talk))
    run.stage("label", lambda: umr.label(work, run.labelling, 0, talk))
    for name, value in label_quality(work, run.mix).items():
        run.report.fact(name, value)


def umr_rounds(run: Run) -> None:
    """Rounds on pseudo labels; those after the first go on from the first seed alone."""
    import umr
    from umr.progress.console import Console

    labelled(run)
    (training, name), talk = run.best("umr", lambda work: None, run.args.drops), Console()
    run.seeds("umr", lambda work: None, training)
    work = run.work(name)
    for number in range(1, run.args.rounds):
        run.stage(f"umr {number}: mine", lambda n=number: umr.mine(work, run.mining, n, talk))  # type: ignore[misc]
        run.stage(f"umr {number}: label", lambda n=number: umr.label(work, run.labelling, n, talk))  # type: ignore[misc]
        run.stage(f"umr {number}: train", lambda n=number: umr.train(work, training, n, talk))  # type: ignore[misc]
        run.measured(f"{name} round {number}", work.encoder_of(number + 1))


def gold(run: Run) -> None:
    """The supervised twin on the candidates of round 0."""
    labelled(run)
    begin = partial(write_gold_labels, mix=run.mix)
    training, _ = run.best("gold", begin, [0.0])
    run.seeds("gold", begin, training)


def bm25(run: Run) -> None:
    """BM25 alone, and beside the start."""
    for task in run.tasks:
        for name, found in by_words(task, run.encoder, run.args.work, run.args.whiten, run.shard, run.report).items():
            run.report.row(
                row=name, centre="language", whiten=f"{run.args.whiten:g}", **{f"{task.name} {METRIC[task.name]}": f"{found:.1f}"}
            )


def rerank(run: Run) -> None:
    """The start's best passages in the order of their labels."""
    place = write_sample(run.args.work, run.args.rerank)
    for task in run.tasks[:2]:
        task = replace(task, queries=place) if task.name == "A" else task
        folder = run.folder / f"rerank-{task.name}-{run.args.rerank}"
        for name, found in by_label(task, folder, run.encoder, run.mining, run.labelling).items():
            run.report.row(row=name, centre="language", whiten=f"{run.args.whiten:g}", **{f"{task.name} R@1": f"{found:.1f}"})


ROWS: dict[str, Callable[[Run], None]] = {"start": start, "umr": umr_rounds, "gold": gold, "bm25": bm25, "rerank": rerank}


def main(args: argparse.Namespace, report: Report) -> None:
    """Make the rows that are asked for."""
    for model in {E5 if args.start == "e5" else GEMMA, GEMMA}:
        require_model(model)
    run = Run(args, report)
    for name in args.rows:
        ROWS[name](run)
    for before in ("start", "gold"):
        if {before, "umr"} <= set(run.last):
            chosen_without = [(task, METRIC[task.name]) for task in run.tasks if task.name not in CHOOSING]
            run.table.paired(run.last[before], run.last["umr"], chosen_without, run.args.whiten)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
