"""Before anything is scored: does a scorer that shares passages agree with one whole pair after the other?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from umr.data.workspace import Workspace
from umr.label.budget import out_of_memory
from umr.label.pack import Tree
from umr.label.pairs import EMPTY, Pairs
from umr.label.reading import Reading
from umr.label.texts import Ints, passages
from umr.label.work import Scorer

TOLERANCE = {
    "fp32": 1e-3,
    "bf16": 0.15,
    "int8": 0.5,
}  # nats a token: larger differences mean that the model does not take block masks, or not these weights
AHEAD = 4096  # passages that the sample is taken from
GROUPS, QUESTIONS = 2, 2


def disagreement(scorer: Scorer, alone: Scorer, trees: Sequence[Tree], summed: bool) -> float:
    """The largest difference between two scorers.

    Arguments:
        scorer: that shares.
        alone: that scores whole pairs.
        trees: a sample.
        summed: whether scores are sums over target tokens.

    Returns:
        nats a target token; infinite where the first scorer cannot do it at all.
    """
    try:
        found = scorer.score(trees)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:  # Bloom's and Mamba's ways to refuse a block mask
        if out_of_memory(error):
            raise
        return math.inf
    expected = alone.score([Tree(tree.trunk, [branch]) for tree in trees for branch in tree.branches])
    tokens = np.array([branch.targets if summed else 1 for tree in trees for branch in tree.branches])
    worst = float(np.max(np.abs(found - expected) / tokens))
    return worst if math.isfinite(worst) else math.inf


def sample_trees(workspace: Workspace, pairs: Pairs, numbers: Ints, reading: Reading) -> list[Tree]:
    """A few trees to check a scorer with: long passages with several questions, which a window or a mask could spoil.

    Arguments:
        workspace: gives the texts.
        pairs: of the round.
        numbers: [m] which of them are to be scored.
        reading: how the language model reads them.

    Raises:
        UsageError: a question or a prompt that the model cannot take.
    """
    rows, counts = np.unique(pairs.rows[numbers], return_counts=True)
    rows, counts = rows[:AHEAD], counts[:AHEAD]
    texts = passages(workspace, rows)
    longest = sorted(range(len(rows)), key=lambda n: (rows[n] != EMPTY, min(counts[n], QUESTIONS), len(texts[n][1])), reverse=True)
    questions, made = workspace.queries.texts(), []
    for n in longest[:GROUPS]:
        some = numbers[pairs.rows[numbers] == rows[n]][:QUESTIONS].tolist()
        queries = [int(pairs.queries[number]) for number in some]
        targets = [reading.target(pairs.candidates.query_ids[q], questions[q]) for q in queries]
        langs = [pairs.candidates.langs[q] for q in queries]
        sources = [reading.source(texts[n], lang, reading.room(len(t))) for lang, t in zip(langs, targets, strict=True)]
        made += _trees(reading, sources, targets, some)
    return made


def _trees(reading: Reading, sources: list[list[int]], targets: list[list[int]], pairs: list[int]) -> list[Tree]:
    if not reading.encoder_decoder:
        return [reading.tree(sources, targets, pairs)]
    return [reading.tree([s], [t], [p]) for s, t, p in zip(sources, targets, pairs, strict=True)]


def spread_trees(workspace: Workspace, pairs: Pairs, numbers: Ints, reading: Reading, count: int) -> list[Tree]:
    """Pairs from all over the work, a tree each: what int8 is calibrated with.

    Arguments:
        workspace, pairs, numbers, reading: see `sample_trees`.
        count: pairs, fewer where there are fewer.
    """
    chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(np.int64))].tolist()
    texts, questions = passages(workspace, pairs.rows[chosen]), workspace.queries.texts()
    made = []
    for text, number in zip(texts, chosen, strict=True):
        query = int(pairs.queries[number])
        target = reading.target(pairs.candidates.query_ids[query], questions[query])
        source = reading.source(text, pairs.candidates.langs[query], reading.room(len(target)))
        made += _trees(reading, [source], [target], [number])
    return made
