"""Centring on real queries and passages, without any training: cross-language retrieval with e5-small, off, global and by language.

XQuAD-R, title and text: A, 14,280 queries in 12 languages against the 240 English passages, R@1; B, the same queries against
all 2,880 passages, 12 of them right for each, mean average precision over the whole ranking. Then a sample of train-mix: of each
language and kind (gold in the query's own language, in another one, in both) up to 60 queries, their gold passages and 130
random ones a language, texts cut at 900 characters, R@1. Everything is a macro mean over the queries' languages. The means are
those of the passages and queries themselves; languages of passages are identified from their text. Gold is read for the
measurement alone, and vectors are kept in --work, so that a second run takes seconds.

Targets: the XQuAD-R figures are those of a plain prototype within 1 point (`PROTOTYPE`). `--check` leaves the train-mix sample out.

    .venv/bin/python benches/centring.py [--work FOLDER]    about half an hour on 2 cores; a killed run continues
    .venv/bin/python benches/centring.py --check            about 20 minutes
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import Report, bench, parser, require_file, require_model
from benches.parts.inputs import E5, table, write_tsv
from benches.parts.mix import Gold, read_gold
from benches.quality import english_passages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from umr._rust import Records
    from umr.config import Precision
    from umr.data.embeddings import Embeddings
    from umr.data.queries import Queries
    from umr.encoder.encoder import DualEncoder
    from umr.encoder.means import Means, Vectors

CENTRES = ("off", "global", "language")
# In points, by a prototype without umr's code on the same weights.
PROTOTYPE = {("A", "off"): 75.6, ("A", "global"): 78.9, ("A", "language"): 80.4, ("B", "off"): 40.6, ("B", "language"): 73.0}
SHARD = 1024  # texts that a killed run loses at most
FEW, DRAWS = (4, 8, 12, 16, 32, 128), 3
LETTERS, QUESTIONS, OTHERS, SEED = 900, 60, 130, 0  # of the train-mix sample
KINDS = {"same": "gold in the query's language", "cross": "gold in another language", "both": "gold in both"}


@dataclass(frozen=True)
class Task:
    """Queries, passages and which of them are right."""

    name: str
    queries: Path
    passages: Path
    gold: Gold


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    folder = Path.home() / ".cache/umr/benches/centring"
    made.add_argument("--work", type=Path, default=folder, help=f"folder of the vectors [default: {folder}]")
    return made


def main(args: argparse.Namespace, report: Report) -> None:
    """Measure every cell and state how far it is from the prototype."""
    from umr.config import EncoderConfig
    from umr.encoder.load import load_encoder

    require_model(E5)
    encoder = load_encoder(EncoderConfig(model=E5, title="text"))
    queries = require_file("data", "xquad-r", "queries.jsonl.gz")
    english = Task("A", queries, english_passages(args.work), read_gold("xquad-r", "qrels.en.txt.gz"))
    pooled = Task("B", queries, require_file("data", "xquad-r", "passages.tsv.gz"), read_gold("xquad-r", "qrels.any.txt.gz"))
    for task in (english, pooled):
        measured = {centre: measure(task, encoder, centre, args.work, report, not args.check) for centre in (*CENTRES, "queries")}
        cells = {centre: macro(values) for centre, values in measured.items()}
        for metric in ("R@1", "mAP"):
            report.row(data=f"XQuAD-R {task.name}", metric=metric, **{centre: f"{values[metric]:.1f}" for centre, values in cells.items()})
        decides = "R@1" if task.name == "A" else "mAP"
        for centre in ("off", "language"):
            report.fact(f"{task.name} {centre}: {decides} by language", by_language(measured[centre], decides))
        for (name, centre), value in PROTOTYPE.items():
            if name == task.name:
                off = abs(cells[centre][decides] - value)
                report.target(f"{name} {centre}: {decides} {cells[centre][decides]:.1f}, points from {value}", off, 1.0, at_least=False)
    if not args.check:
        sample(args, encoder, report)


def sample(args: argparse.Namespace, encoder: DualEncoder, report: Report) -> None:
    """The kinds of train-mix."""
    kinds = write_sample(args.work)
    task = Task(
        "train-mix", args.work / "mix.queries.jsonl", args.work / "mix.passages.tsv", read_gold("train-mix", "hidden", "gold.qrels.gz")
    )
    found = {centre: measure(task, encoder, centre, args.work, report) for centre in CENTRES}
    for kind, what in KINDS.items():
        of_kind = {centre: {q: values for q, values in cells.items() if kinds[q] == kind} for centre, cells in found.items()}
        langs = len({values["lang"] for values in of_kind["off"].values()})
        cells = {centre: f"{macro(values)['R@1']:.1f}" for centre, values in of_kind.items()}
        report.row(data=f"train-mix, {what}, {langs} languages", metric="R@1", **cells)


def measure(
    task: Task,
    encoder: DualEncoder,
    centre: Any,
    work: Path,
    report: Report,
    few: bool = False,
    precision: Precision = "fp32",
    whiten: float = 0.0,
    shard: int = SHARD,
) -> dict[str, dict[str, Any]]:
    """Language, R@1 and average precision of every query that has gold, in points.

    Arguments:
        centre: off, global, language, or `queries`: by language, the passages left as they are.
        few: measure means of few queries too.
        precision: of the encoder.
        whiten: strength of the whitening.
        shard: texts of a file of vectors.
    """
    passages, queries, rows, _ = ranked(task, encoder, centre, work, report, few, precision, whiten, shard)
    return judged(task.gold, queries, rows, places(passages))


def ranked(
    task: Task, encoder: DualEncoder, centre: Any, work: Path, report: Report, few: bool, precision: Precision, whiten: float, shard: int
) -> tuple[Records, Queries, NDArray[np.uint32], NDArray[np.float32]]:
    """The passages and queries of a task, and all passages of each query by falling score: rows and scores [Q, n]; see `measure`."""
    import numpy as np

    from umr.config import MineConfig
    from umr.data.corpus_langs import corpus_languages
    from umr.encoder.centre import means_for, passage_vectors, query_vectors
    from umr.layout import WorkLayout
    from umr.progress.console import Console
    from umr.search.exact import top_k

    talk, layout = Console(), WorkLayout(work)
    passages, queries = opened(task, work)
    config = MineConfig(centre="language" if centre == "queries" else centre, shard_rows=shard, precision=precision, whiten=whiten)
    means = means_for(passages, queries, encoder, layout, config, talk)
    stored = passage_vectors(passages, encoder, layout, config, talk, None if centre == "queries" else means)
    vectors = query_vectors(queries, encoder, layout, config, talk, means)
    if centre == "language":
        found = corpus_languages(passages, layout, talk).of(np.arange(len(passages)))
        right = [lang == name.split(":")[0] for lang, name in zip(found, places(passages), strict=True)]
        report.fact(f"{task.name}: passages whose language was identified as labelled, %", round(100 * float(np.mean(right)), 1))
        if task.name == "A" and few:
            _few(task, queries, query_vectors(queries, encoder, layout, config, talk), means, stored, places(passages), report)
    return passages, queries, *top_k(vectors, stored, len(passages), 0, talk)


def opened(task: Task, work: Path) -> tuple[Records, Queries]:
    """The passages and queries of a task."""
    from umr.data.corpus import open_passages
    from umr.data.queries import open_queries
    from umr.progress.console import Console

    passages = open_passages([str(task.passages)], work / "corpus" / task.name, Console())
    return passages, open_queries([str(task.queries)], work / "corpus" / task.name, None, Console())


def places(passages: Records) -> dict[str, int]:
    """Passage id -> its row, in the order of rows."""
    import numpy as np

    return {name: row for row, name in enumerate(passages.ids(np.arange(len(passages), dtype=np.uint32)))}


def _few(
    task: Task, queries: Queries, vectors: Vectors, means: Means | None, passages: Embeddings, place: Mapping[str, int], report: Report
) -> None:
    """R@1 with the queries' means taken from a few random queries of each language."""
    import numpy as np

    from umr.encoder.means import SideMeans, centred
    from umr.search.exact import top_k

    if means is None:
        return
    langs, drawn, first = np.array(queries.langs), np.random.default_rng(SEED), means.queries
    for number in FEW:
        found = []
        for _ in range(DRAWS):
            chosen = [drawn.choice(np.flatnonzero(langs == lang), number, replace=False) for lang in first.langs]
            table = np.stack([first.table[0], *(vectors[rows].mean(axis=0) for rows in chosen)])
            moved = centred(vectors, table, SideMeans(table, first.langs).groups(queries.langs), normalise=True)
            found.append(macro(judged(task.gold, queries, top_k(moved, passages, 1)[0], place, first_only=True))["R@1"])
        report.fact(f"A: R@1, means of {number} queries a language", round(float(np.mean(found)), 1))


def judged(
    gold: Gold, queries: Queries, rows: NDArray[np.uint32], place: Mapping[str, int], first_only: bool = False
) -> dict[str, dict[str, Any]]:
    import numpy as np

    found: dict[str, dict[str, Any]] = {}
    for name, lang, ranking in zip(queries.ids(), queries.langs, rows, strict=True):
        right = [place[passage] for passage in gold.get(name, ()) if passage in place]
        if not right:
            continue
        ranks = np.flatnonzero(np.isin(ranking, right)) + 1
        precision = np.arange(1, len(ranks) + 1) / ranks
        found[name] = {"lang": lang, "R@1": 100.0 * (1 in ranks), "mAP": 0.0 if first_only else 100.0 * float(precision.mean())}
    return found


def by_language(found: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """The mean over the queries of each language, in words."""
    import numpy as np

    langs = sorted({values["lang"] for values in found.values()})
    return ", ".join(f"{lang} {np.mean([v[metric] for v in found.values() if v['lang'] == lang]):.1f}" for lang in langs)


def macro(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The mean over the queries of each language, and of these."""
    import numpy as np

    langs = sorted({values["lang"] for values in found.values()})
    by_lang = {metric: [np.mean([v[metric] for v in found.values() if v["lang"] == lang]) for lang in langs] for metric in ("R@1", "mAP")}
    return {metric: float(np.mean(values)) for metric, values in by_lang.items()}


def write_sample(folder: Path) -> dict[str, str]:
    """Write the queries and passages of the sample; the kind of each query."""
    drawn = random.Random(SEED)
    gold = read_gold("train-mix", "hidden", "gold.qrels.gz")
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in table("train-mix", "hidden", "query_meta.tsv.gz"):
        if row["id"] in gold:
            cells[row["lang"], row["kind"]].append(row["id"])
    kinds = {name: kind for (_, kind), names in sorted(cells.items()) for name in drawn.sample(names, min(QUESTIONS, len(names)))}
    by_lang: dict[str, list[str]] = defaultdict(list)
    for row in table("train-mix", "hidden", "passage_meta.tsv.gz"):
        by_lang[row["lang"]].append(row["id"])
    wanted = {passage for name in kinds for passage in gold[name]}
    wanted |= {passage for _, names in sorted(by_lang.items()) for passage in drawn.sample(names, min(OTHERS, len(names)))}
    rows = (row for row in table("train-mix", "passages.tsv.gz") if row["id"] in wanted)
    write_tsv(folder / "mix.passages.tsv", (row | {"text": row["text"][:LETTERS]} for row in rows))
    source = require_file("data", "train-mix", "queries.jsonl.gz")
    with gzip.open(source, "rt", encoding="utf-8") as lines, (folder / "mix.queries.jsonl").open("w", encoding="utf-8") as chosen:
        chosen.writelines(line for line in lines if json.loads(line)["id"] in kinds)
    return kinds


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
