"""The demonstration: one full round and the second mining on a small corpus written for this project, with real models.

224 short passages and 560 queries in ten languages and six scripts. The passages come in families of eight near-duplicates
(eight rivers, eight cheeses, ...), and most queries are asked in another language than their passage. Half of the
queries go through the loop; the other half, with their gold answers, only through the evaluation.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.data.workspace import create_workspace
from umr.evaluate import Comparison, Evaluation, compare
from umr.judge import judge, read_test_set
from umr.label import label
from umr.mine import mine
from umr.progress import Reporter
from umr.retrieve import Which
from umr.train import train

DATA = Path(__file__).parent / "data"
ENCODER = EncoderConfig(model="pypi:multilingual-e5-small")
MINING = MineConfig(top_k=8)
LABELLING = LabelConfig(lm="pypi:gemma-3-270m")
# A few hundred queries: the passages stay as they are, so that a step on two cores takes about a second. The half of the queries
# whose labels say least is left out: many queries here have no answer among their candidates.
TRAINING = TrainConfig(epochs=16, drop=0.5, passages_per_query=8, learning_rate=3e-5, freeze="passages", held_out=0.1, evaluations=1)
ENCODERS: tuple[Which, Which] = ("first", 0)
METRICS = ("R@1", "R@5", "MRR")


def demonstrate(work: Path, device: str, reporter: Reporter) -> tuple[Evaluation, Evaluation, list[Comparison]]:
    """Mine, label, train, mine again, evaluate; a killed demonstration continues.

    Arguments:
        work: the work folder.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows what is done.

    Returns:
        the encoder as it came, and after one round, on the held-out queries; and a comparison a metric, with bootstrap intervals.

    Raises:
        MissingExtraError: the packages that carry the models are not installed.
    """
    workspace = create_workspace(work, [str(DATA / "passages.jsonl")], [str(DATA / "queries.loop.jsonl")], ENCODER, None, reporter)
    reporter.say("\n[1/5] mine: the encoder as it came finds 8 candidate passages of every query")
    mine(workspace, replace(MINING, device=device), 0, reporter)
    reporter.say("\n[2/5] label: Gemma 3 270M says how likely each query is, given each of its candidates")
    label(workspace, replace(LABELLING, device=device), 0, reporter)
    reporter.say("\n[3/5] train: these likelihoods are distilled into the encoder of the queries")
    train(workspace, replace(TRAINING, device=device), 0, reporter)
    reporter.say("\n[4/5] mine again, with the trained encoder")
    mine(workspace, replace(MINING, device=device), 1, reporter)
    reporter.say("\n[5/5] evaluate on 280 other queries, which nothing above has seen")
    test = read_test_set(workspace, DATA / "qrels.test.txt", [str(DATA / "queries.test.jsonl")], reporter=reporter)
    before, after = (judge(workspace, test, which, METRICS, device=device, reporter=reporter)[0] for which in ENCODERS)
    return before, after, [compare(before, after, metric=name) for name in METRICS]
