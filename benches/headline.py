"""The paper's claim on real data: an encoder trained by its own pseudo labels beside one that is trained on gold pairs.

Starts: `gemma`, the first 13 layers of Gemma 3 270M, which never saw a pair of query and passage; `e5`, multilingual-e5-small,
which has. Labels are made by Gemma 3 270M. Queries and passages are a part of train-mix (parts/mix.py); the query side is
trained against frozen passages, or both sides (--freeze none). Rows:

    start      the start as it is
    umr        rounds of mine, label, train; a row for each round
    gold       the supervised twin: the same queries, candidates and training, with gold passages for labels (InfoNCE with mined negatives)

Both are trained in round 0 with each learning rate of --learning-rates, umr also with each share of --drops of the queries left out, in as
many steps; the one that is best on `apart` goes on.

Every encoder is measured without centring, with one mean a side, and with one a language, the last two also whitened (all estimated
on the texts searched, without gold): `apart`, queries of train-mix that are not trained on, R@1; XQuAD-R A, 12 languages against the
240 English passages, R@1; XQuAD-R B, all 2,880 passages, mAP. What is chosen is chosen on `apart`. A killed run continues.

    .venv/bin/python benches/headline.py [--start gemma] [--rows start umr gold]    some hours on 2 cores, most of them labelling
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.centring import CENTRES, SHARD, Task, macro
from benches.harness import Report, bench, parser, positive, require_file, require_model, stopwatch
from benches.parts.gold import label_quality, write_gold_labels
from benches.parts.inputs import E5, GEMMA
from benches.parts.measured import Measured
from benches.parts.mix import Mix, read_gold, some_of, write_mix
from benches.quality import english_passages

if TYPE_CHECKING:
    from umr import EncoderConfig, LabelConfig, MineConfig, TrainConfig, Workspace

GPU_SHARD = 1 << 18  # texts of a shard: a GPU wants many at once
METRIC = {"apart": "R@1", "A": "R@1", "B": "mAP"}


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
    made.add_argument("--per-language", type=int, default=0, help="candidates from every language, at least [default: 0]")
    made.add_argument("--centres", nargs="+", choices=CENTRES, default=list(CENTRES), help="how rows are centred [default: all ways]")
    made.add_argument("--k", type=positive, default=16, help="candidates of a query [default: 16]")
    made.add_argument(
        "--learning-rates", nargs="+", type=float, default=[2e-5, 5e-5, 1e-4], help="tried on both sides [default: 2e-5 5e-5 1e-4]"
    )
    made.add_argument("--drops", nargs="+", type=float, default=[0.0, 0.5], help="tried on the side of umr [default: 0 0.5]")
    made.add_argument("--merge", action="store_true", help="mix what was trained with the start, on both sides, by the validation loss")
    made.add_argument("--whiten", type=float, default=None, help="strength of the whitening, 0 to 1 [default: gemma 0.5, e5 0]")
    made.add_argument("--tasks", nargs="+", choices=tuple(METRIC), default=list(METRIC))
    made.add_argument("--device", default="auto")
    return made


class Run:
    """One start with its data, settings and work folders."""

    def __init__(self, args: argparse.Namespace, report: Report) -> None:
        from umr.models.device import pick_device

        if args.whiten is None:
            args.whiten = 0.5 if args.start == "gemma" else 0.0
        sizes = f"{args.queries}-{args.apart}-{args.passages}"
        self.args, self.report = args, report
        self.last: dict[str, str] = {}  # side -> name of its last measured row
        spread, used = f"-{args.per_language}" if args.per_language else "", f"-of-{args.use}" if args.use else ""
        fused = f"-fuse-{args.fuse:g}" if args.fuse != 1 else ""
        cell = f"{args.start}-{args.layers}-{sizes}-{args.k}{spread}-{args.whiten:g}{used}{fused}"
        self.folder = args.work / cell  # of what this cell makes, and no other
        self.shard = SHARD if pick_device(args.device).type == "cpu" else GPU_SHARD
        self.table = Measured(self.folder / "measured", args.work, args.a_language, args.device, self.shard, report)
        self.mix: Mix = write_mix(args.work / f"mix-{sizes}", args.queries, args.apart, args.passages)
        self.mix = some_of(self.mix, args.use) if args.use else self.mix

    @property
    def encoder(self) -> EncoderConfig:
        """The start."""
        import umr

        if self.args.start == "e5":
            return umr.EncoderConfig(model=E5, title="text", query_length=64, passage_length=192)
        return umr.EncoderConfig(
            model=GEMMA, layers=self.args.layers, pooling="mean", similarity="cosine", title="text", query_length=64, passage_length=192
        )

    @property
    def mining(self) -> MineConfig:
        """How candidates are found."""
        import umr

        return umr.MineConfig(
            top_k=self.args.k, per_language=self.args.per_language, centre="language", whiten=self.args.whiten, precision="bf16",
            shard_rows=self.shard, device=self.args.device,
        )  # fmt: skip

    @property
    def labelling(self) -> LabelConfig:
        """How labels are made."""
        import umr

        return umr.LabelConfig(
            lm=GEMMA, fuse=self.args.fuse, source_length=256, store=str(self.args.work / "scores"), device=self.args.device
        )

    def training(self, learning_rate: float, drop: float = 0.0) -> TrainConfig:
        """How both the pseudo labels and the gold are learned."""
        import umr

        return umr.TrainConfig(
            drop=drop, merge=self.args.merge, epochs=round(self.args.epochs / (1 - drop)), batch_size=self.args.batch,
            passages_per_query=self.args.drawn or self.args.k, learning_rate=learning_rate, student_temperature=0.05,
            freeze=self.args.freeze, freeze_layers=0, held_out=0.1, evaluations=1, precision="auto", device=self.args.device,
        )  # fmt: skip

    @property
    def apart(self) -> Task:
        """What is chosen by: queries of train-mix that are not trained on."""
        return Task("apart", self.mix.apart, self.mix.passages, self.mix.gold)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """What every encoder is measured on."""
        queries = write_sample(self.args.work, self.args.a_language)
        every = (
            self.apart,
            Task("A", queries, english_passages(self.args.work), read_gold("xquad-r", "qrels.en.txt.gz")),
            Task("B", queries, require_file("data", "xquad-r", "passages.tsv.gz"), read_gold("xquad-r", "qrels.any.txt.gz")),
        )
        return tuple(task for task in every if task.name in self.args.tasks)

    def work(self, name: str) -> Workspace:
        """A work folder over the queries to train on."""
        import umr
        from umr.progress.console import Console

        made, own = self.args.work / "embeddings", self.folder / name / "embeddings"
        if made.exists() and not own.exists():  # vectors that were made for a measure
            shutil.copytree(made, own, copy_function=os.link)
        return umr.create_workspace(self.folder / name, self.mix.passages, self.mix.queries, self.encoder, reporter=Console())

    def copy(self, name: str) -> Workspace:
        """A work folder that begins with the candidates and labels of round 0 that all share."""
        source, place = self.folder / "labelled", self.folder / name
        if not place.exists():
            shutil.copytree(source, place, copy_function=os.link, ignore=shutil.ignore_patterns("lock"))
        return self.work(name)

    def stage(self, name: str, do: Callable[[], object]) -> None:
        """Run a stage; its seconds are a fact."""
        seconds: list[float] = []
        with stopwatch(seconds):
            do()
        self.report.fact(f"{name}, seconds", round(seconds[0], 1))

    def measured(self, name: str, config: EncoderConfig) -> None:
        """A row for each centring; what was measured before is read."""
        whitened = [(centre, self.args.whiten) for centre in self.args.centres if self.args.whiten and centre != "off"]
        for centre, whiten in [*((centre, 0.0) for centre in self.args.centres), *whitened]:
            cells = {f"{task.name} {METRIC[task.name]}": f"{self.value(name, config, task, centre, whiten):.1f}" for task in self.tasks}
            self.report.row(row=name, centre=centre, whiten=f"{whiten:g}", **cells)

    def value(self, name: str, config: EncoderConfig, task: Task, centre: str, whiten: float) -> float:
        """The macro mean of an encoder on a task."""
        return macro(self.table.values(name, config, task, centre, whiten))[METRIC[task.name]]

    def best(self, side: str, begin: Callable[[Workspace], None], drops: Sequence[float]) -> tuple[Workspace, TrainConfig, str]:
        """The work folder of a side, trained in round 0 with what is best on `apart`, how it was trained, and its name."""
        import umr
        from umr.progress.console import Console

        found = {}
        for config in [self.training(rate, drop) for drop in drops for rate in self.args.learning_rates]:
            options = {f"drop {config.drop:g}": config.drop, "merge": config.merge, "both": config.freeze == "none"}
            name = " ".join([side, f"{config.learning_rate:g}", *(option for option, there in options.items() if there)])
            work = self.copy(name)
            begin(work)
            self.stage(f"{name}: train", lambda w=work, c=config: umr.train(w, c, 0, Console()))  # type: ignore[misc]
            value = self.value(name, work.encoder_of(1), self.apart, "language", self.args.whiten)
            self.report.row(row=name, centre="language", whiten=f"{self.args.whiten:g}", **{"apart R@1": f"{value:.1f}"})
            found[name] = (value, config)
        name = max(found, key=lambda one: found[one][0])
        return self.work(name), found[name][1], name


def write_sample(folder: Path, a_language: int) -> Path:
    """So many of XQuAD-R's queries of each language, in a file of their own."""
    by_lang: dict[str, list[str]] = defaultdict(list)
    with gzip.open(require_file("data", "xquad-r", "queries.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            by_lang[json.loads(line)["lang"]].append(line)
    path = folder / f"xquad-{a_language}.jsonl"
    chosen = [line for rows in by_lang.values() for line in random.Random(0).sample(rows, min(a_language, len(rows)))]
    path.write_text("".join(chosen), encoding="utf-8")
    return path


def start(run: Run) -> None:
    """The start as it is."""
    run.last["start"] = "start"
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
    """Rounds on pseudo labels."""
    import umr
    from umr.progress.console import Console

    labelled(run)
    (work, training, name), talk = run.best("umr", lambda work: None, run.args.drops), Console()
    for number in range(run.args.rounds):
        run.stage(f"umr {number}: mine", lambda n=number: umr.mine(work, run.mining, n, talk))  # type: ignore[misc]
        run.stage(f"umr {number}: label", lambda n=number: umr.label(work, run.labelling, n, talk))  # type: ignore[misc]
        run.stage(f"umr {number}: train", lambda n=number: umr.train(work, training, n, talk))  # type: ignore[misc]
        run.last["umr"] = f"{name} round {number}" if number else name
        run.measured(run.last["umr"], work.encoder_of(number + 1))


def gold(run: Run) -> None:
    """The supervised twin on the candidates of round 0."""
    labelled(run)
    twin, _, name = run.best("gold", lambda work: write_gold_labels(work, run.mix), [0.0])
    run.last["gold"] = name
    run.measured(name, twin.encoder_of(1))


ROWS: dict[str, Callable[[Run], None]] = {"start": start, "umr": umr_rounds, "gold": gold}


def main(args: argparse.Namespace, report: Report) -> None:
    """Make the rows that are asked for."""
    for model in {E5 if args.start == "e5" else GEMMA, GEMMA}:
        require_model(model)
    run = Run(args, report)
    for name in args.rows:
        ROWS[name](run)
    for before in ("start", "gold"):
        if {before, "umr"} <= set(run.last):
            chosen_without = [(task, METRIC[task.name]) for task in run.tasks if task.name != "apart"]
            run.table.paired(run.last[before], run.last["umr"], chosen_without, run.args.whiten)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
