"""Labelling beside the loop that the reference and its peers run: does sharing passages pay, and how near is the peak?

The same pairs, model (Gemma 3 270M) and precision (the one whose matrix product is faster here): xquad-r's questions in 12
languages with their top 10 candidates among the 240 English passages, mined with e5-small through umr, in groups of 30, 8
and 2 questions a passage. Ours is the scorer that `umr label` makes, timed on enough groups for 20 seconds; the rival is
../shared/baselines/likelihood.py in a process of its own, at its best batch of 1, 2, 4, timed on a sample of the same pairs
of the same mean length (it needs most of a second a pair; loading is not counted on either side).

Useful FLOP/s over the GEMM peak of the same run: 2 x body parameters x useful tokens + 2 x hidden x vocabulary x question
tokens, parameters counted from the model's config, a passage counted once a group (parts/flops.py has the formula). Also
shown: padding, tokens computed again (a passage whose questions need two rows), peak anonymous memory (RssAnon).

Equality: in fp32, on a few dozen pairs, scores differ by at most 1e-4 nats from the rival's at batch 1.

Targets: 7x at sharing 30, 5.5x at 8, 3x at 2, and 65 % of the peak at each.

    .venv/bin/python benches/label.py [--check]    10 to 18 minutes on 2 cores; with --check, exit 0 exactly when the targets hold
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
from benches.parts.flops import Work, useful_flop, work
from benches.parts.inputs import GEMMA
from benches.parts.labelling import Task
from benches.parts.machine import Finished, Peaks, child
from benches.parts.pairs import A_LANGUAGE, Pair, Pool, for_rival, groups, pool

FACTORS = {30: 7.0, 8: 5.5, 2: 3.0}  # sharing -> times the rival
SHARE, NATS = 0.65, 1e-4
BATCHES = (1, 2, 4)


def options() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--sharing", type=positive, nargs="+", default=list(FACTORS), help="questions a passage [default: 30 8 2]")
    made.add_argument("--seconds", type=positive, default=20, help="at least so long a timed run of ours [default: 20]")
    made.add_argument("--rival-pairs", type=positive, default=24, help="pairs that the rival is timed on [default: 24]")
    made.add_argument("--questions", type=positive, default=A_LANGUAGE, help="questions a language that are mined [default: 100]")
    return made


class Bench:
    """One run: the model, the pairs, and the rival's best batch once it is known."""

    def __init__(self, args: argparse.Namespace, report: Report, folder: Path) -> None:
        self.args, self.report, self.folder = args, report, folder
        self.rival = str(require_file("baselines", "likelihood.py"))
        self.model = require_model(GEMMA)
        self.pool: Pool = pool(args.questions)
        self.peaks, self.batch = Peaks(), 0
        self.peaks.look(args.gemm, args.threads)
        self.precision = self.peaks.faster
        self.tokens = Tokens(self.model, self.pool)

    def ours(self, chosen: list[list[Pair]], precision: str, seconds: float, repeats: int) -> Finished:
        """Our labelling of groups."""
        rows = [[list(astuple(pair)) for pair in group] for group in chosen]
        task = Task(self.model, precision, self.args.threads, seconds, repeats, self.pool.texts, rows)
        file = self.folder / "task.json"
        file.write_text(json.dumps(asdict(task)), encoding="utf-8")
        return child(["-m", "benches.parts.labelling", str(file)])

    def theirs(self, pairs: list[Pair], precision: str, batch: int) -> Finished:
        """The rival's labelling of pairs."""
        say(f"rival: {len(pairs)} pairs, {precision}, batch {batch}")
        rows = [{"question": p.question, "lang": p.lang, "passage": self.pool.texts[p.passage]} for p in pairs]
        file = self.folder / "pairs.jsonl"
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return child([self.rival, self.model, str(file), precision, str(batch), str(len(pairs))])

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

    def cost(self, chosen: list[list[Pair]]) -> dict[Pair, int]:
        """Tokens of each pair on its own."""
        return {pair: self.work([pair]).whole for group in chosen for pair in group}


def main(args: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        run = Bench(args, report, Path(name))
        report.fact("precision", f"{run.precision}, the faster one here")
        found = [measure(run, sharing) for sharing in args.sharing]
        require_equal(run, found[0][0])
        run.peaks.look(args.gemm, args.threads)
        report.fact("GEMM peak", f"{run.peaks}")
        for chosen, flops, cells in found:
            tell(run, len(chosen[0]), flops / 1e9 / run.peaks.of(run.precision), cells)


def measure(run: Bench, sharing: int) -> tuple[list[list[Pair]], float, dict[str, Any]]:
    """One sharing: the groups that were timed, our useful FLOP/s, and the figures of both sides."""
    say(f"sharing {sharing}: umr, {run.precision}")
    every = groups(run.pool, sharing)
    ours = run.ours(every, run.precision, run.args.seconds, run.args.repeats)
    value, chosen = ours.value, every[: ours.value["groups"]]
    needed = sum((run.tokens.work(group) for group in chosen), Work(0, 0, 0))
    sample = for_rival(chosen, run.args.rival_pairs, run.tokens.cost(chosen))
    seconds, rival = run.best(sample)
    cells = {
        "pairs": value["pairs"], "seconds": value["seconds"], "rate": value["pairs"] / value["seconds"], "memory": ours.anonymous,
        "tokens": needed.whole / value["pairs"], "padding": value["padding"] / value["computed"],
        "again": 1 - value["padding"] / value["computed"] - needed.tokens / value["computed"],
        "rival pairs": len(sample), "rival seconds": seconds, "rival rate": len(sample) / seconds, "rival memory": rival.anonymous,
        "rival tokens": sum(run.tokens.work([p]).whole for p in sample) / len(sample),
    }  # fmt: skip
    return chosen, useful_flop(needed, run.tokens.config) / value["seconds"], cells


def require_equal(run: Bench, chosen: list[list[Pair]]) -> None:
    """Our scores in fp32, shared, are the rival's at batch 1."""
    pairs = for_rival(chosen, run.args.rival_pairs, run.tokens.cost(chosen))
    by_passage: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_passage.setdefault(pair.passage, []).append(pair)
    shared = list(by_passage.values())
    ours = dict(zip([p for group in shared for p in group], run.ours(shared, "fp32", 0, 1).value["scores"], strict=True))
    theirs = run.theirs(pairs, "fp32", 1).value["scores"]
    worst = max(abs(ours[pair] - score) for pair, score in zip(pairs, theirs, strict=True))
    run.report.fact("largest difference of scores in fp32", f"{worst:.2e} nats over {len(pairs)} pairs")
    if not worst <= NATS:
        raise DiffersError(f"a score is off by {worst:.3g} nats, at most {NATS:g} is allowed")


def tell(run: Bench, sharing: int, share: float, found: dict[str, Any]) -> None:
    """Two rows of the table, and the targets."""
    ratio = found["rate"] / found["rival rate"]
    run.report.row(**{
        "sharing": str(sharing), "engine": f"umr {run.precision}", "pairs": str(found["pairs"]), "seconds": found["seconds"],
        "pairs/s": found["rate"], "ratio": ratio, "% of GEMM peak": 100 * share, "padding %": 100 * found["padding"],
        "computed again %": 100 * found["again"], "tokens/pair": found["tokens"], "anonymous MiB": found["memory"],
    })  # fmt: skip
    run.report.row(**{
        "sharing": str(sharing), "engine": f"likelihood.py, batch {run.batch}", "pairs": str(found["rival pairs"]),
        "seconds": found["rival seconds"], "pairs/s": found["rival rate"], "ratio": 1.0, "tokens/pair": found["rival tokens"],
        "anonymous MiB": found["rival memory"],
    })  # fmt: skip
    if sharing in FACTORS:
        run.report.target(f"sharing {sharing}: times the rival", ratio, FACTORS[sharing])
    run.report.target(f"sharing {sharing}: useful FLOP/s over the GEMM peak", share, SHARE)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
