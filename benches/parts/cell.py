"""A cell of headline.py: a start with its data, settings and work folders, and how rows of it are trained and measured."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product, starmap
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from benches.centring import SHARD, Task, macro
from benches.harness import Report, require_file, stopwatch
from benches.parts.inputs import E5, GEMMA
from benches.parts.measured import METRIC, Measured
from benches.parts.mix import Mix, read_gold, some_of, write_across, write_mix
from benches.quality import english_passages

if TYPE_CHECKING:
    from umr import EncoderConfig, LabelConfig, MineConfig, TrainConfig, Workspace

GPU_SHARD = 1 << 18  # texts of a shard: a GPU wants many at once
TEMPERATURE = 0.05  # of the student
ACROSS = 1200  # queries


class Run:
    """One start with its data, settings and work folders.

    Arguments:
        args: the options of headline.py.
        report: of the benchmark.
    """

    def __init__(self, args: argparse.Namespace, report: Report) -> None:
        from umr.models.device import pick_device

        if args.whiten is None:
            args.whiten = 0.5 if args.start == "gemma" else 0.0
        sizes = f"{args.queries}-{args.apart}-{args.passages}"
        self.args, self.report = args, report
        self.last: dict[str, list[str]] = {}  # side -> names of its last measured rows, one a seed
        spread, used = f"-{args.per_language}" if args.per_language else "", f"-of-{args.use}" if args.use else ""
        fused = f"-fuse-{args.fuse:g}" if args.fuse != 1 else ""
        fused += f"-labels-{args.label_temperature:g}" if args.label_temperature != 0.1 else ""
        cell = f"{args.start}-{args.layers}-{sizes}-{args.k}{spread}-{args.whiten:g}{used}{fused}{'-bm25' if args.bm25 else ''}"
        self.folder = args.work / cell  # of what this cell makes, and no other
        self.shard = SHARD if pick_device(args.device).type == "cpu" else GPU_SHARD
        self.table = Measured(self.folder / "measured", args.work, args.a_language, args.device, self.shard, report)
        self.mix: Mix = write_mix(args.work / f"mix-{sizes}", args.queries, args.apart, args.passages)
        self.across = write_across(args.work / f"mix-{sizes}", self.mix, ACROSS) if "across" in (args.choose, *args.tasks) else None
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
            top_k=self.args.k, per_language=self.args.per_language, bm25=self.args.bm25, centre="language", whiten=self.args.whiten,
            precision="bf16", shard_rows=self.shard, device=self.args.device,
        )  # fmt: skip

    @property
    def labelling(self) -> LabelConfig:
        """How labels are made."""
        import umr

        return umr.LabelConfig(
            lm=GEMMA, fuse=self.args.fuse, temperature=self.args.label_temperature, source_length=256,
            store=str(self.args.work / "scores"), device=self.args.device,
        )  # fmt: skip

    def training(self, learning_rate: float, temperature: float, drop: float = 0.0) -> TrainConfig:
        """How both the pseudo labels and the gold are learned."""
        import umr

        return umr.TrainConfig(
            seed=self.args.seeds[0], drop=drop, merge=self.args.merge,
            epochs=round(self.args.epochs / (1 - drop)), batch_size=self.args.batch,
            passages_per_query=self.args.drawn or self.args.k, learning_rate=learning_rate, student_temperature=temperature,
            freeze=self.args.freeze, freeze_layers=0, held_out=0.1, evaluations=1, precision="auto", device=self.args.device,
        )  # fmt: skip

    @cached_property
    def choosing(self) -> dict[str, Task]:
        """What may be chosen by: queries of train-mix that are not trained on, as they come, and with gold in another language."""
        found = {"apart": Task("apart", self.mix.apart, self.mix.passages, self.mix.gold)}
        return found | ({"across": Task("across", *self.across, self.mix.gold)} if self.across else {})

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """What every encoder is measured on."""
        queries = write_sample(self.args.work, self.args.a_language)
        every = (
            *self.choosing.values(),
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

    def best(self, side: str, begin: Callable[[Workspace], None], drops: Sequence[float]) -> tuple[TrainConfig, str]:
        """How a side is trained in round 0 with what is best on the task to choose by, and the name of its work folder."""
        found, task = {}, self.choosing[self.args.choose]
        for config in starmap(self.training, product(self.args.learning_rates, self.args.temperatures, drops)):
            name = self.name(side, config)
            work = self.trained(name, begin, config)
            value = self.value(name, work.encoder_of(1), task, "language", self.args.whiten)
            self.report.row(
                row=name, centre="language", whiten=f"{self.args.whiten:g}", **{f"{task.name} {METRIC[task.name]}": f"{value:.1f}"}
            )
            found[name] = (value, config)
        name = max(found, key=lambda one: found[one][0])
        return found[name][1], name

    def name(self, side: str, config: TrainConfig) -> str:
        """A training, by what is not the same in all."""
        options = {
            f"drop {config.drop:g}": config.drop, "merge": config.merge, "both": config.freeze == "none",
            f"t {config.student_temperature:g}": config.student_temperature != TEMPERATURE,
            f"drawn {config.passages_per_query}": config.passages_per_query != self.args.k, f"seed {config.seed}": config.seed,
        }  # fmt: skip
        return " ".join([side, f"{config.learning_rate:g}", *(option for option, there in options.items() if there)])

    def trained(self, name: str, begin: Callable[[Workspace], None], config: TrainConfig) -> Workspace:
        """A work folder whose round 0 is trained; `begin` may change its labels before."""
        import umr
        from umr.progress.console import Console

        work = self.copy(name)
        begin(work)
        self.stage(f"{name}: train", lambda: umr.train(work, config, 0, Console()))
        return work

    def seeds(self, side: str, begin: Callable[[Workspace], None], config: TrainConfig) -> None:
        """Rows of a side with every seed, and their mean and spread."""
        configs = [replace(config, seed=seed) for seed in self.args.seeds]
        made = {self.name(side, one): self.trained(self.name(side, one), begin, one).encoder_of(1) for one in configs}
        for name, encoder in made.items():
            self.measured(name, encoder)
        self.last[side], whiten = list(made), self.args.whiten
        if len(made) > 1:
            values = {task.name: [self.value(name, made[name], task, "language", whiten) for name in made] for task in self.tasks}
            cells = {f"{name} {METRIC[name]}": f"{mean(of):.1f} +- {stdev(of):.1f}" for name, of in values.items()}
            self.report.row(row=f"{side}, {len(made)} seeds", centre="language", whiten=f"{whiten:g}", **cells)


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
