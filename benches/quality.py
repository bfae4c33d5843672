"""One round on real queries and passages: does the loop make a real encoder better on a real test set it has never seen?

multilingual-e5-small mines the 560 unlabelled queries of train-small in its 1,900 passages (16 candidates each), Gemma 3
270M labels them, the query side is trained, and the encoder is measured before and after on XQuAD-R: 1,190 queries in each
of 12 languages against the 240 English passages (text without title). Gold is read for the measurement alone.

Targets: the untrained encoder's R@1 is that of a plain prototype within 1 point in every language (`UNTRAINED`); after a whole
round the macro R@1 and R@5 are higher than before. `--check` decides by the first alone, the one that fits into 20 minutes.

    .venv/bin/python benches/quality.py [--work FOLDER]    about an hour on 2 cores; a killed run continues
    .venv/bin/python benches/quality.py --check            about 5 minutes
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import Report, bench, parser, require_file, require_model, timed
from benches.parts.inputs import E5, GEMMA, passages, write_tsv

if TYPE_CHECKING:
    from umr import Workspace
    from umr.evaluate import Evaluation
    from umr.retrieve import Which

METRICS = ("R@1", "R@5", "MRR")
# R@1 of the same weights without training, question in L against the English passages, by a prototype without umr's code.
UNTRAINED = {
    "ar": 65.0, "de": 83.3, "el": 72.6, "en": 93.2, "es": 87.6, "hi": 78.8,
    "ro": 82.6, "ru": 79.5, "th": 74.2, "tr": 74.3, "vi": 71.4, "zh": 68.7,
}  # fmt: skip


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cell."""
    made = parser(__doc__)
    made.add_argument("--work", type=Path, default=Path("umr-quality"), help="work folder [default: umr-quality]")
    made.add_argument("--epochs", type=int, default=6)
    made.add_argument("--learning-rate", type=float, default=3e-5)
    return made


def english_passages(folder: Path) -> Path:
    """The 240 English passages of XQuAD-R as a file of their own."""
    english = [row for row in passages("xquad-r") if row["id"].startswith("en:")]
    folder.mkdir(parents=True, exist_ok=True)
    return write_tsv(folder / "xquad.en.tsv", english)


def open_work(args: argparse.Namespace) -> Workspace:
    """The work folder over train-small."""
    import umr
    from umr.progress.console import Console

    passages, queries = (str(require_file("data", "train-small", name)) for name in ("passages.tsv.gz", "queries.jsonl.gz"))
    return umr.create_workspace(args.work, [passages], [queries], umr.EncoderConfig(model=E5, title="none"), reporter=Console())


def train_round(workspace: Workspace, args: argparse.Namespace, report: Report) -> None:
    """Mine, label and train on train-small, the time of each stage in the report."""
    import umr
    from umr.progress.console import Console

    talk = Console()
    rate = args.learning_rate
    training = umr.TrainConfig(
        epochs=args.epochs, learning_rate=rate, student_temperature=0.02, freeze="passages", held_out=0.1, evaluations=1
    )
    stages: dict[str, Callable[[], object]] = {
        "mine": lambda: umr.mine(workspace, umr.MineConfig(top_k=16), 0, talk),
        "label": lambda: umr.label(workspace, umr.LabelConfig(lm=GEMMA), 0, talk),
        "train": lambda: umr.train(workspace, training, 0, talk),
    }
    for name, stage in stages.items():
        seconds, _ = timed(stage, 1, lambda: None)
        report.fact(f"{name}, seconds", round(seconds, 1))


def measure(workspace: Workspace, which: Which) -> Evaluation:
    """An encoder of the work folder on XQuAD-R."""
    import umr
    from umr.progress.console import Console

    queries, qrels = require_file("data", "xquad-r", "queries.jsonl.gz"), require_file("data", "xquad-r", "qrels.en.txt.gz")
    passages = english_passages(workspace.layout.folder)
    test = umr.read_test_set(workspace, qrels, [str(queries)], [str(passages)])
    return umr.judge(workspace, test, which, METRICS, reporter=Console())[0]


def main(args: argparse.Namespace, report: Report) -> None:
    """Run the round and state what it changed; with --check only measure the untrained encoder."""
    require_model(E5)
    workspace = open_work(args)
    if not args.check:
        require_model(GEMMA)
        train_round(workspace, args, report)
    before = measure(workspace, "first")
    off = {lang: abs(100 * before.per_language[lang]["R@1"] - value) for lang, value in UNTRAINED.items()}
    if args.check:
        for lang, value in UNTRAINED.items():
            report.row(language=lang, prototype=f"{value:.1f}", **{"R@1": f"{100 * before.per_language[lang]['R@1']:.1f}"})
    else:
        _compare(before, measure(workspace, 0), report)
    report.target("largest difference from the prototype's untrained R@1, points", max(off.values()), 1.0, at_least=False)


def _compare(before: Evaluation, after: Evaluation, report: Report) -> None:
    from umr.evaluate import compare

    comparisons = {metric: compare(before, after, metric=metric) for metric in METRICS}
    for lang in [*before.per_language, "macro"]:
        report.row(language=lang, prototype=f"{UNTRAINED[lang]:.1f}" if lang in UNTRAINED else "", **_cells(comparisons, lang))
    for metric in ("R@1", "R@5"):
        report.target(f"macro {metric} after, above before", 100 * after.macro[metric], 100 * before.macro[metric], strict=True)


def _cells(comparisons: dict[str, Any], lang: str) -> dict[str, str]:
    cells = {}
    for metric, found in comparisons.items():
        row = found.macro if lang == "macro" else found.per_language[lang]
        cells[f"{metric} before"], cells[f"{metric} after"] = f"{100 * row.before:.1f}", f"{100 * row.after:.1f}"
        cells[f"{metric} 95 %"] = f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
    return cells


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
