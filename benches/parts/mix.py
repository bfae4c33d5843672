"""A part of train-mix: unlabelled queries to train on, others set apart to measure, and the passages that both are searched in."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benches.harness import require_file
from benches.parts.inputs import passages, table, write_tsv

SEED = 0
Gold = Mapping[str, set[str]]


@dataclass(frozen=True)
class Mix:
    """Files of a part of train-mix.

    Arguments:
        queries: to train on, without gold.
        apart: to measure with while something is chosen; never trained on.
        passages: those that the queries of both were written from, and random ones.
        gold: of both, for measures and for supervised twins alone.
    """

    queries: Path
    apart: Path
    passages: Path
    gold: Gold


def some_of(mix: Mix, count: int) -> Mix:
    """The same with fewer queries to train on, drawn from all of them; a larger draw has those of a smaller one."""
    lines = mix.queries.read_text(encoding="utf-8").splitlines(keepends=True)
    drawn = set(random.Random(SEED).sample(range(len(lines)), len(lines))[:count])
    path = mix.queries.with_name(f"queries-{count}.jsonl")
    path.write_text("".join(line for n, line in enumerate(lines) if n in drawn), encoding="utf-8")
    return replace(mix, queries=path)


def read_gold(*parts: str) -> Gold:
    """Query id -> ids of the passages that are right."""
    gold = defaultdict(set)
    with gzip.open(require_file("data", *parts), "rt", encoding="utf-8") as lines:
        for line in lines:
            query, _, passage, relevant = line.split()
            if int(relevant) > 0:
                gold[query].add(passage)
    return gold


def write_mix(folder: Path, queries: int, apart: int, passages: int) -> Mix:
    """Write a part of train-mix; languages get equal shares of the queries as far as they have so many.

    Arguments:
        folder: where the files go.
        queries: to train on.
        apart: to measure with.
        passages: in all; at least those that the queries were written from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gold = read_gold("train-mix", "hidden", "gold.qrels.gz")
    drawn = random.Random(SEED)
    chosen = _balanced([row for row in table("train-mix", "hidden", "query_meta.tsv.gz") if row["id"] in gold], queries + apart, drawn)
    drawn.shuffle(chosen)
    parts = {"queries": set(chosen[:queries]), "apart": set(chosen[queries:])}
    source = require_file("data", "train-mix", "queries.jsonl.gz")
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = [(json.loads(line)["id"], line) for line in lines]
    for name, wanted in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(line for found, line in rows if found in wanted), encoding="utf-8")
    _write_passages(folder / "passages.tsv", {p for name in chosen for p in gold[name]}, passages, drawn)
    return Mix(folder / "queries.jsonl", folder / "apart.jsonl", folder / "passages.tsv", gold)


def write_across(folder: Path, mix: Mix, count: int) -> tuple[Path, Path]:
    """Write queries of train-mix with a right passage in another language, in no other part; languages get equal shares.

    Arguments:
        folder: where the files go.
        mix: whose queries are left out, and whose passages are searched beside those that the new queries were written from.
        count: of queries.

    Returns:
        the files of the queries and of the passages.
    """
    used = {json.loads(line)["id"] for path in (mix.queries, mix.apart) for line in path.read_text(encoding="utf-8").splitlines()}
    rows = [row for row in table("train-mix", "hidden", "query_meta.tsv.gz") if row["kind"] != "same" and row["id"] not in used]
    chosen = set(_balanced([row for row in rows if row["id"] in mix.gold], count, random.Random(SEED)))
    source = require_file("data", "train-mix", "queries.jsonl.gz")
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        kept = [line for line in lines if json.loads(line)["id"] in chosen]
    (folder / "across.jsonl").write_text("".join(kept), encoding="utf-8")
    with mix.passages.open(encoding="utf-8", newline="") as lines:
        searched = {row["id"] for row in csv.DictReader(lines, delimiter="\t")}
    _write_passages(folder / "across.tsv", searched | {passage for name in chosen for passage in mix.gold[name]}, 0, random.Random(SEED))
    return folder / "across.jsonl", folder / "across.tsv"


def _balanced(rows: list[dict[str, str]], count: int, drawn: random.Random) -> list[str]:
    by_lang: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_lang[row["lang"]].append(row["id"])
    for names in by_lang.values():
        drawn.shuffle(names)
    found: list[str] = []
    while len(found) < count and any(by_lang.values()):
        found += [names.pop() for _, names in sorted(by_lang.items()) if names]
    return found[:count]


def _write_passages(path: Path, wanted: set[str], count: int, drawn: random.Random) -> None:
    rows = passages("train-mix")
    others = [row["id"] for row in rows if row["id"] not in wanted]
    wanted = wanted | set(drawn.sample(others, max(0, min(len(others), count - len(wanted)))))
    write_tsv(path, (row for row in rows if row["id"] in wanted))
