"""Labelling beside two other ways: the loop that the reference and its peers run, and plain padded batches of whole pairs.

The same pairs, model (Gemma 3 270M) and precision (the one whose matrix product is faster here): xquad-r's queries in 12
languages with their top 10 candidates among the 240 English passages, mined with e5-small through umr, in groups of 30, 8
and 2 queries a passage. Ours is the scorer that `umr label` makes. The first rival is ../shared/baselines/likelihood.py, at
its best batch of 1, 2, 4; the second sorts whole pairs by length, pads them and makes logits at the targets alone
(parts/padded.py). Each runs in a process of its own. Rivals are timed on a sample of the same pairs of the same mean length;
loading and our tokenising, which the stage does once, are not counted.

Equality: in fp32, on a few dozen pairs, scores differ by at most 1e-4 nats from either rival's. Order: Kendall's tau and the
largest difference of bf16 against fp32, on whole candidate lists.

An encoder-decoder of random weights (mT5's shape, 8 + 8 layers of width 512, 250,112 ids) is timed beside the same kind of
loop: whole pairs, padded, full-vocabulary log-softmax; scores must agree to 1e-4 nats in fp32.

Targets: 7x the loop at sharing 30, 5.5x at 8, 3x at 2; tau of bf16 at least 0.965.

    .venv/bin/python benches/label.py [--check]    about 17 minutes on 2 cores; with --check, exit 0 exactly when the targets hold
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import DiffersError, Report, bench, parser, positive, require_file, require_model, say
from benches.parts.encoder_decoder import Task as PairTask
from benches.parts.inputs import GEMMA
from benches.parts.labelling import Task
from benches.parts.machine import Finished, Peaks, child
from benches.parts.order import compare
from benches.parts.pairs import A_LANGUAGE, Pair, Pool, by_passage, for_rival, groups, pool, whole_lists

FACTORS = {30: 7.0, 8: 5.5, 2: 3.0}  # sharing -> times the loop
NATS, TAU = 1e-4, 0.965
BATCHES = (1, 2, 4)
RATE = 100  # pairs a second: no more are tokenised than could be timed


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    made.add_argument("--sharing", type=positive, nargs="+", default=list(FACTORS), help="queries a passage [default: 30 8 2]")
    made.add_argument("--seconds", type=positive, default=12, help="at least so long a timed run of ours [default: 12]")
    made.add_argument("--rival-pairs", type=positive, default=24, help="pairs that the rivals are timed on [default: 24]")
    made.add_argument("--queries", type=positive, default=A_LANGUAGE, help="queries a language that are mined [default: 100]")
    made.add_argument("--lists", type=positive, default=3, help="queries a language whose order is compared [default: 3]")
    made.add_argument("--sources", type=positive, default=24, help="passages of the encoder-decoder [default: 24]")
    return made


class Bench:
    """One run: the model, the pairs, and the loop's best batch once it is known."""

    def __init__(self, args: argparse.Namespace, report: Report, folder: Path) -> None:
        self.args, self.report, self.folder = args, report, folder
        self.rival = str(require_file("baselines", "likelihood.py"))
        self.model = require_model(GEMMA)
        self.pool: Pool = pool(args.queries)
        peaks = Peaks()
        peaks.look(args.gemm, args.threads)
        report.fact("GEMM peak", f"{peaks}")
        self.precision, self.batch = peaks.faster, 0
        self.lists = whole_lists(self.pool, args.lists)

    def run(self, command: list[str]) -> Finished:
        """A process of its own, with as many threads as asked for."""
        return child(command, {"RAYON_NUM_THREADS": str(self.args.threads), "OMP_NUM_THREADS": str(self.args.threads)})

    def task(self, engine: str, chosen: list[list[Pair]], precision: str, seconds: float, repeats: int) -> Finished:
        """Groups labelled by our scorer, or in padded batches."""
        rows = [[list(astuple(pair)) for pair in group] for group in chosen]
        task = Task(engine, self.model, precision, self.args.threads, seconds, repeats, self.pool.texts, rows)
        file = self.folder / "task.json"
        file.write_text(json.dumps(asdict(task)), encoding="utf-8")
        return self.run(["-m", "benches.parts.labelling", str(file)])

    def loop(self, pairs: list[Pair], precision: str, batch: int) -> Finished:
        """The loop's labelling of pairs."""
        say(f"loop: {len(pairs)} pairs, {precision}, batch {batch}")
        rows = [{"question": p.query, "lang": p.lang, "passage": self.pool.texts[p.passage]} for p in pairs]
        file = self.folder / "pairs.jsonl"
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return self.run([self.rival, self.model, str(file), precision, str(batch), str(len(pairs))])

    def best_loop(self, pairs: list[Pair]) -> tuple[float, Finished]:
        """The loop's median seconds at its best batch, which the first call finds, and one of its runs."""
        runs = []
        if not self.batch:
            tried = {batch: self.loop(pairs, self.precision, batch) for batch in BATCHES}
            self.batch = max(tried, key=lambda batch: float(tried[batch].value["pairs_per_second"]))
            rates = ", ".join(f"{batch}: {found.value['pairs_per_second']}" for batch, found in tried.items())
            self.report.fact("loop's pairs/s by batch", rates)
            runs = [tried[self.batch]]
        runs += [self.loop(pairs, self.precision, self.batch) for _ in range(self.args.repeats - len(runs))]
        return statistics.median(float(run.value["seconds"]) for run in runs), runs[-1]


def lengths(run: Bench) -> Callable[[list[list[Pair]]], dict[Pair, int]]:
    """A function: groups -> tokens of each pair on its own."""
    from umr.config import LabelConfig
    from umr.label.prompts.prompt import prompt_for
    from umr.models.lm import find_lm
    from umr.progress import Silent

    prompt = prompt_for(find_lm(run.model, Silent()), LabelConfig(run.model))

    def of(chosen: list[list[Pair]]) -> dict[Pair, int]:
        pairs = [pair for group in chosen for pair in group]
        sources = prompt.encode([prompt.fill("", run.pool.texts[p.passage], p.lang) for p in pairs])
        targets = [prompt.target_ids("", p.query) for p in pairs]
        return {p: min(prompt.limit, len(s)) + len(t) for p, s, t in zip(pairs, sources, targets, strict=True)}

    return of


def main(args: argparse.Namespace, report: Report) -> None:
    """Time every engine, after their results were compared."""
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        run = Bench(args, report, Path(name))
        tokens = lengths(run)
        report.fact("precision", f"{run.precision}, the faster one here")
        for sharing in args.sharing:
            measure(run, sharing, tokens)
        require_equal(run, groups(run.pool, args.sharing[0]), tokens)
        order(run)
        encoder_decoder(run)


def measure(run: Bench, sharing: int, tokens: Callable[[list[list[Pair]]], dict[Pair, int]]) -> None:
    """One sharing: ours, and both rivals on a sample."""
    say(f"sharing {sharing}: umr, {run.precision}")
    every = groups(run.pool, sharing)[: max(2, RATE * run.args.seconds // sharing)]
    ours = run.task("umr", every, run.precision, run.args.seconds, run.args.repeats)
    chosen = every[: ours.value["groups"]]
    sample = for_rival(chosen, run.args.rival_pairs, tokens(chosen))
    padded = run.task("padded", by_passage(sample), run.precision, 0, run.args.repeats)
    seconds, loop = run.best_loop(sample)
    rates = [ours.value["pairs"] / ours.value["seconds"], padded.value["pairs"] / padded.value["seconds"], len(sample) / seconds]
    names = [f"umr {run.precision}", "padded batches", f"likelihood.py, batch {run.batch}"]
    for name, ended, rate in zip(names, (ours, padded, loop), rates, strict=True):
        row(run, str(sharing), name, ended, rate, rates[1:])
    if sharing in FACTORS:
        run.report.target(f"sharing {sharing}: times the loop", rates[0] / rates[2], FACTORS[sharing])


def row(run: Bench, sharing: str, engine: str, ended: Finished, rate: float, rivals: list[float]) -> None:
    """One row of the table; its ratio to padded batches, where there are any, and to the loop."""
    run.report.row(**{
        "sharing": sharing, "engine": engine, "pairs": str(ended.value["pairs"]), "pairs/s": rate,
        "x padded": rate / rivals[0] if len(rivals) > 1 else "", "x loop": rate / rivals[-1], "anonymous MiB": ended.anonymous,
    })  # fmt: skip


def require_equal(run: Bench, chosen: list[list[Pair]], tokens: Callable[[list[list[Pair]]], dict[Pair, int]]) -> None:
    """Our scores in fp32, shared, are those of padded batches and of the loop at batch 1."""
    pairs = for_rival(chosen, run.args.rival_pairs, tokens(chosen))
    shared = by_passage(pairs)
    flat = [p for group in shared for p in group]
    ours, padded = (run.task(engine, shared, "fp32", 0, 1).value["scores"] for engine in ("umr", "padded"))
    loop = dict(zip(pairs, run.loop(pairs, "fp32", 1).value["scores"], strict=True))
    worst = max(max(abs(a - b), abs(a - loop[pair])) for a, b, pair in zip(ours, padded, flat, strict=True))
    run.report.fact("largest difference of scores in fp32", f"{worst:.2e} nats over {len(pairs)} pairs")
    if not worst <= NATS:
        raise DiffersError(f"a score is off by {worst:.3g} nats, at most {NATS:g} is allowed")


def order(run: Bench) -> None:
    """How bf16 orders whole candidate lists, against fp32."""
    say(f"order of the candidates of {len(run.lists) // 10} queries")
    shared = by_passage(run.lists)
    flat = [pair for group in shared for pair in group]
    queries = {query: number for number, query in enumerate({(p.query, p.lang): None for p in flat})}
    exact, half = (run.task("umr", shared, precision, 0, 1).value["scores"] for precision in ("fp32", "bf16"))
    found = compare(exact, half, [queries[p.query, p.lang] for p in flat])
    run.report.fact(
        "bf16 against fp32",
        f"Kendall's tau {found.tau:.4f} (standard error {found.error:.4f}), largest difference {found.largest:.3f} nats",
    )
    run.report.target("bf16: Kendall's tau against fp32", found.tau, TAU)


def encoder_decoder(run: Bench) -> None:
    """Both sides on an encoder-decoder, after their scores were compared in fp32."""
    ask = {"threads": run.args.threads, "sharing": 8, "batch": 4, "repeats": run.args.repeats}
    small = {**ask, "precision": "fp32", "groups": 2, "pairs": 16, "repeats": 1}
    ours, theirs = (pair_task(run, engine=engine, **small).value["scores"] for engine in ("ours", "rival"))
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    run.report.fact("encoder-decoder: largest difference in fp32", f"{worst:.2e} nats over {len(ours)} pairs")
    if not worst <= NATS:
        raise DiffersError(f"a score of the encoder-decoder is off by {worst:.3g} nats, at most {NATS:g} is allowed")
    big = {**ask, "precision": run.precision, "groups": run.args.sources, "pairs": run.args.rival_pairs}
    found = [pair_task(run, engine=engine, **big) for engine in ("ours", "rival")]
    rates = [ended.value["pairs"] / ended.value["seconds"] for ended in found]
    for name, ended, rate in zip((f"umr {run.precision}", "whole pairs, batch 4"), found, rates, strict=True):
        row(run, "8, mT5", name, ended, rate, rates[1:])


def pair_task(run: Bench, **fields: Any) -> Finished:
    """One side of the encoder-decoder."""
    say(f"encoder-decoder: {fields['engine']}, {fields['precision']}")
    file = run.folder / "pairs.json"
    file.write_text(json.dumps(asdict(PairTask(**fields))), encoding="utf-8")
    return run.run(["-m", "benches.parts.encoder_decoder", str(file)])


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
