"""Labelling beside the loop that the reference and its peers run: does sharing passages pay, and how near is the peak?

The same pairs, model (Gemma 3 270M) and precision (the one whose matrix product is faster here): xquad-r's questions in 12
languages with their top 10 candidates among the 240 English passages, mined with e5-small through umr, in groups of 30, 8
and 2 questions a passage. Ours is the scorer that `umr label` makes, timed on enough groups for some seconds; the rival is
../shared/baselines/likelihood.py in a process of its own, at its best batch of 1, 2, 4, timed on a sample of the same pairs
of the same mean length (it needs most of a second a pair; loading is not counted on either side, nor is our tokenising: the
stage does it once and keeps the ids). At the largest sharing int8 is timed too: weights and inputs of all products.

Useful FLOP/s over the GEMM peak of the same run: what the scores need when nothing is computed twice or for padding
(parts/flops.py has the formula). Also shown: padding, peak anonymous memory (RssAnon).

Equality: in fp32, on a few dozen pairs, scores differ by at most 1e-4 nats from the rival's at batch 1. Order: Kendall's tau
and the largest difference of bf16 and int8 against fp32, on whole candidate lists whose passages int8 was not calibrated with.

An encoder-decoder of random weights (mT5's shape, 8 + 8 layers of width 512, 250,112 ids) is timed beside the same kind of
loop: whole pairs, padded, full-vocabulary log-softmax; scores must agree to 1e-4 nats in fp32, and padding stay below 3 %.

Targets: 7x at sharing 30, 5.5x at 8, 3x at 2, and 65 % of the peak at each; int8 at sharing 30: 12x the rival, 1.8x our own
floating engine, tau at least 0.97.

    .venv/bin/python benches/label.py [--check]    about 15 minutes on 2 cores; with --check, exit 0 exactly when the targets hold
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import DiffersError, Report, bench, parser, positive, require_file, require_model, say
from benches.parts.encoder_decoder import Task as PairTask
from benches.parts.flops import Work, useful_flop, work
from benches.parts.inputs import GEMMA
from benches.parts.labelling import Task
from benches.parts.machine import Finished, Peaks, child
from benches.parts.order import Order, compare
from benches.parts.pairs import A_LANGUAGE, Pair, Pool, for_rival, groups, pool, whole_lists

FACTORS = {30: 7.0, 8: 5.5, 2: 3.0}  # sharing -> times the rival
SHARE, NATS = 0.65, 1e-4
INT8_RIVAL, INT8_FLOAT, TAU = 12.0, 1.8, 0.97
PADDING = 0.03
BATCHES = (1, 2, 4)
CALIBRATE = 24  # pairs
RATE = 100  # pairs a second: no more are tokenised than could be timed


def options() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--sharing", type=positive, nargs="+", default=list(FACTORS), help="questions a passage [default: 30 8 2]")
    made.add_argument("--seconds", type=positive, default=12, help="at least so long a timed run of ours [default: 12]")
    made.add_argument("--rival-pairs", type=positive, default=24, help="pairs that the rival is timed on [default: 24]")
    made.add_argument("--questions", type=positive, default=A_LANGUAGE, help="questions a language that are mined [default: 100]")
    made.add_argument("--lists", type=positive, default=3, help="questions a language whose order is compared [default: 3]")
    made.add_argument("--sources", type=positive, default=24, help="passages of the encoder-decoder [default: 24]")
    return made


class Bench:
    """One run: the model, the pairs, and the rival's best batch once it is known."""

    def __init__(self, args: argparse.Namespace, report: Report, folder: Path) -> None:
        self.args, self.report, self.folder = args, report, folder
        self.rival = str(require_file("baselines", "likelihood.py"))
        self.model = require_model(GEMMA)
        self.pool: Pool = pool(args.questions)
        self.peaks, self.batch = Peaks(), 0
        self.look()
        self.precision = self.peaks.faster
        self.tokens = Tokens(self.model, self.pool)
        self.lists = whole_lists(self.pool, args.lists)
        listed = {pair.passage for pair in self.lists}
        self.calibrate = [pair for pair in self.pool.pairs if pair.passage not in listed]
        self.calibrate = self.calibrate[:: max(1, len(self.calibrate) // CALIBRATE)][:CALIBRATE]

    def look(self) -> None:
        """The peak of the matrix product, now."""
        self.peaks.look(self.args.gemm, self.args.threads)

    def run(self, command: list[str]) -> Finished:
        """A process of its own, with as many threads as asked for."""
        return child(command, {"RAYON_NUM_THREADS": str(self.args.threads)})

    def ours(self, chosen: list[list[Pair]], precision: str, seconds: float, repeats: int) -> Finished:
        """Our labelling of groups."""
        rows = [[list(astuple(pair)) for pair in group] for group in chosen]
        calibrate = [[list(astuple(pair))] for pair in self.calibrate]
        task = Task(self.model, precision, self.args.threads, seconds, repeats, self.pool.texts, rows, calibrate, str(self.folder))
        file = self.folder / "task.json"
        file.write_text(json.dumps(asdict(task)), encoding="utf-8")
        return self.run(["-m", "benches.parts.labelling", str(file)])

    def theirs(self, pairs: list[Pair], precision: str, batch: int) -> Finished:
        """The rival's labelling of pairs."""
        say(f"rival: {len(pairs)} pairs, {precision}, batch {batch}")
        rows = [{"question": p.question, "lang": p.lang, "passage": self.pool.texts[p.passage]} for p in pairs]
        file = self.folder / "pairs.jsonl"
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return self.run([self.rival, self.model, str(file), precision, str(batch), str(len(pairs))])

    def best(self, pairs: list[Pair]) -> tuple[float, Finished]:
        """The rival's median seconds at its best batch, which the first call finds, and one of its runs."""
        runs = []
        if not self.batch:
            tried = {batch: self.theirs(pairs, self.precision, batch) for batch in BATCHES}
            self.batch = max(tried, key=lambda batch: float(tried[batch].value["pairs_per_second"]))
            rates = ", ".join(f"{batch}: {found.value['pairs_per_second']}" for batch, found in tried.items())
            self.report.fact("rival's pairs/s by batch", rates)
            runs = [tried[self.batch]]
        runs += [self.theirs(pairs, self.precision, self.batch) for _ in range(self.args.repeats - len(runs))]
        return statistics.median(float(run.value["seconds"]) for run in runs), runs[-1]


class Tokens:
    """Token ids of pairs, as both sides make them."""

    def __init__(self, model: str, found: Pool) -> None:
        from transformers import AutoConfig, AutoTokenizer

        from umr.config import LabelConfig
        from umr.label.prompt import CAUSAL, Prompt

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self.config: Any = AutoConfig.from_pretrained(model)
        self.prompt, self.limit, self.texts = Prompt(*CAUSAL), LabelConfig(model).source_length, found.texts

    def work(self, group: list[Pair]) -> Work:
        """What the pairs of one passage need."""
        from umr.label.prompt import source_ids, target_ids

        text = self.texts[group[0].passage]
        sources = [source_ids(self.prompt, self.tokenizer, "", text, p.lang, self.limit) for p in group]
        return work(sources, [target_ids(self.prompt, self.tokenizer, p.question, special=False) for p in group])

    def flop(self, chosen: list[list[Pair]]) -> float:
        """Useful operations of groups."""
        return useful_flop(sum((self.work(group) for group in chosen), Work(0, 0, 0)), self.config)

    def cost(self, chosen: list[list[Pair]]) -> dict[Pair, int]:
        """Tokens of each pair on its own."""
        return {pair: self.work([pair]).whole for group in chosen for pair in group}


def main(args: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        run = Bench(args, report, Path(name))
        report.fact("precision", f"{run.precision}, the faster one here")
        found = [measure(run, sharing) for sharing in args.sharing]
        require_equal(run, groups(run.pool, args.sharing[0]))
        orders = order(run)
        pairs = encoder_decoder(run)
        report.fact("GEMM peak", f"{run.peaks}")
        for cells in found:
            tell(run, cells)
        tell_order(run, orders)
        tell_encoder_decoder(run, *pairs)


def measure(run: Bench, sharing: int) -> dict[str, Any]:
    """One sharing: the figures of our engine, of the rival, and at the largest one of int8."""
    say(f"sharing {sharing}: umr, {run.precision}")
    every = groups(run.pool, sharing)[: max(2, RATE * run.args.seconds // sharing)]
    ours = run.ours(every, run.precision, run.args.seconds, run.args.repeats)
    chosen = every[: ours.value["groups"]]
    int8 = run.ours(chosen, "int8", 0, run.args.repeats) if sharing == max(FACTORS) else None
    sample = for_rival(chosen, run.args.rival_pairs, run.tokens.cost(chosen))
    seconds, rival = run.best(sample)
    run.look()
    return {
        "sharing": sharing, "flop": run.tokens.flop(chosen), "ours": ours, "int8": int8, "rival": rival, "sample": len(sample),
        "rival seconds": seconds, "tokens": sum(run.tokens.cost(chosen).values()) / ours.value["pairs"],
        "rival tokens": sum(run.tokens.work([p]).whole for p in sample) / len(sample),
    }  # fmt: skip


def require_equal(run: Bench, chosen: list[list[Pair]]) -> None:
    """Our scores in fp32, shared, are the rival's at batch 1."""
    pairs = for_rival(chosen, run.args.rival_pairs, run.tokens.cost(chosen))
    shared = by_passage(pairs)
    ours = dict(zip([p for group in shared for p in group], run.ours(shared, "fp32", 0, 1).value["scores"], strict=True))
    theirs = run.theirs(pairs, "fp32", 1).value["scores"]
    worst = max(abs(ours[pair] - score) for pair, score in zip(pairs, theirs, strict=True))
    run.report.fact("largest difference of scores in fp32", f"{worst:.2e} nats over {len(pairs)} pairs")
    if not worst <= NATS:
        raise DiffersError(f"a score is off by {worst:.3g} nats, at most {NATS:g} is allowed")


def by_passage(pairs: list[Pair]) -> list[list[Pair]]:
    """Pairs in groups of one passage."""
    found: dict[int, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.passage, []).append(pair)
    return list(found.values())


def order(run: Bench) -> dict[str, Order]:
    """How the faster precisions order whole candidate lists, against fp32."""
    say(f"order of the candidates of {len(run.lists) // 10} questions")
    shared = by_passage(run.lists)
    flat = [pair for group in shared for pair in group]
    questions = {question: number for number, question in enumerate({(p.question, p.lang): None for p in flat})}
    owner = [questions[p.question, p.lang] for p in flat]
    exact = run.ours(shared, "fp32", 0, 1).value["scores"]
    return {p: compare(exact, run.ours(shared, p, 0, 1).value["scores"], owner) for p in ("bf16", "int8")}


def encoder_decoder(run: Bench) -> tuple[Finished, Finished]:
    """Both sides on an encoder-decoder, after their scores were compared in fp32."""
    ask = {"threads": run.args.threads, "sharing": 8, "batch": 4, "repeats": run.args.repeats}
    small = {**ask, "precision": "fp32", "groups": 2, "pairs": 16, "repeats": 1}
    ours, theirs = (pair_task(run, engine=engine, **small).value["scores"] for engine in ("ours", "rival"))
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    run.report.fact("encoder-decoder: largest difference in fp32", f"{worst:.2e} nats over {len(ours)} pairs")
    if not worst <= NATS:
        raise DiffersError(f"a score of the encoder-decoder is off by {worst:.3g} nats, at most {NATS:g} is allowed")
    big = {**ask, "precision": run.precision, "groups": run.args.sources, "pairs": run.args.rival_pairs}
    return pair_task(run, engine="ours", **big), pair_task(run, engine="rival", **big)


def pair_task(run: Bench, **fields: Any) -> Finished:
    """One side of the encoder-decoder."""
    say(f"encoder-decoder: {fields['engine']}, {fields['precision']}")
    file = run.folder / "pairs.json"
    file.write_text(json.dumps(asdict(PairTask(**fields))), encoding="utf-8")
    return run.run(["-m", "benches.parts.encoder_decoder", str(file)])


def row(run: Bench, sharing: str, engine: str, ended: Finished, seconds: float, ratio: float, **more: Any) -> None:
    """One row of the table."""
    pairs = ended.value["pairs"]
    run.report.row(**{
        "sharing": sharing, "engine": engine, "pairs": str(pairs), "seconds": seconds, "pairs/s": pairs / seconds, "ratio": ratio,
        "% of GEMM peak": more.get("share", ""), "padding %": 100 * more["padding"] if "padding" in more else "",
        "tokens/pair": more.get("tokens", ""), "anonymous MiB": ended.anonymous,
    })  # fmt: skip


def tell(run: Bench, found: dict[str, Any]) -> None:
    """The rows of one sharing, and its targets."""
    sharing, ours, rival, int8 = found["sharing"], found["ours"], found["rival"], found["int8"]
    rate, against = ours.value["pairs"] / ours.value["seconds"], found["sample"] / found["rival seconds"]
    share = found["flop"] / ours.value["seconds"] / 1e9 / run.peaks.of(run.precision)
    more = {"tokens": found["tokens"], "padding": 0.0}
    row(run, str(sharing), f"umr {run.precision}", ours, ours.value["seconds"], rate / against, share=100 * share, **more)
    if int8 is not None:
        quick = int8.value["pairs"] / int8.value["seconds"]
        peak = found["flop"] / int8.value["seconds"] / 1e9 / run.peaks.int8
        row(run, str(sharing), "umr int8", int8, int8.value["seconds"], quick / against, share=100 * peak, **more)
        run.report.target(f"sharing {sharing}: int8, times the rival", quick / against, INT8_RIVAL)
        run.report.target(f"sharing {sharing}: int8, times our own {run.precision}", quick / rate, INT8_FLOAT)
    name = f"likelihood.py, batch {run.batch}"
    row(run, str(sharing), name, rival, found["rival seconds"], 1.0, tokens=found["rival tokens"])
    if sharing in FACTORS:
        run.report.target(f"sharing {sharing}: times the rival", rate / against, FACTORS[sharing])
    run.report.target(f"sharing {sharing}: useful FLOP/s over the GEMM peak", share, SHARE)


def tell_order(run: Bench, found: dict[str, Order]) -> None:
    """Kendall's tau of the faster precisions."""
    for precision, value in found.items():
        run.report.fact(
            f"{precision} against fp32",
            f"Kendall's tau {value.tau:.4f} (standard error {value.error:.4f}), largest difference {value.largest:.3f} nats",
        )
    run.report.target("int8: Kendall's tau against fp32", found["int8"].tau, TAU)


def tell_encoder_decoder(run: Bench, ours: Finished, rival: Finished) -> None:
    """The two rows of the encoder-decoder."""
    quick, slow = (x.value["pairs"] / x.value["seconds"] for x in (ours, rival))
    padding = ours.value["padding"]
    row(run, "8, mT5", f"umr {run.precision}", ours, ours.value["seconds"], quick / slow, padding=padding)
    row(run, "8, mT5", "whole pairs, batch 4", rival, rival.value["seconds"], 1.0)
    run.report.target("encoder-decoder: padding", padding, PADDING, at_least=False)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
