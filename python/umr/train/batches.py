"""Training batches: which queries, which of their candidates, and every label that is known inside the batch.

Everything is a function of seed, epoch and step, so that a resumed training sees the batches of an unbroken one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umr._rust import permutation, sample_candidates
from umr.config import TrainConfig
from umr.data.labels import Labels

Rows = NDArray[np.uint32]


@dataclass(frozen=True)
class TrainBatch:
    """One step of training.

    Arguments:
        queries: [B] rows of the queries.
        passages: [U] rows of the passages; each once when duplicates are merged, B x C in order when they are kept.
        labels: [B, U] float32 log-probabilities up to a constant a row, -inf where the query has no label for the passage.
    """

    queries: Rows
    passages: Rows
    labels: NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """The queries used for training and those held out for the validation loss."""

    training: Rows
    held_out: Rows


def clearest(scores: NDArray[np.float32], usable: NDArray[np.bool_], drop: float) -> NDArray[np.bool_]:
    """The queries whose labels say most: their best score is far above the mean of their candidates'.

    That margin, in nats, is the likelihood's without what makes a query likely or not whatever the passage. Where no candidate
    answers, all are about as likely.

    Arguments:
        scores: [Q, k] of the language model; NaN where there is none.
        usable: [Q] which of them count.
        drop: share of these that are left out; of equal margins the later ones.

    Returns:
        [Q] those of `usable` that are kept, at least one.
    """
    kept, rows = usable.copy(), np.flatnonzero(usable)
    if drop and len(rows):
        some = scores[rows].astype(np.float64)
        margins = np.nanmax(some, axis=1) - np.nanmean(some, axis=1)
        kept[rows[np.argsort(-margins, kind="stable")[max(1, round((1 - drop) * len(rows))) :]]] = False
    return kept


def split_queries(usable: NDArray[np.bool_], share: float, seed: int) -> Split:
    """Hold out a share of the queries.

    Arguments:
        usable: [Q] which of them may be trained on or held out.
        share: of these that are held out; at least one when positive and there are two.
        seed: decides which.
    """
    rows = np.flatnonzero(usable).astype(np.uint32)
    order = rows[permutation(seed, 2**32 - 1, len(rows))]
    held = max(0, min(len(rows) - 1, max(1, round(share * len(rows))))) if share > 0 else 0
    return Split(np.sort(order[held:]), np.sort(order[:held]))


def steps_an_epoch(queries: int, batch_size: int) -> int:
    """Whole batches in an epoch; a smaller last one is dropped (as in the paper's code) unless it is the only one."""
    return max(1, queries // batch_size)


def batch_at(labels: Labels, training: Rows, config: TrainConfig, step: int) -> TrainBatch:
    """The batch of a global step.

    Arguments:
        labels: of all queries.
        training: [T] rows of the queries trained on.
        config: batch size, C, seed and what happens to duplicates.
        step: from 0, over all epochs.
    """
    steps = steps_an_epoch(len(training), config.batch_size)
    order = permutation(config.seed, step // steps, len(training))
    first = (step % steps) * config.batch_size
    queries = training[order[first : first + config.batch_size]]
    return make_batch(labels, queries, config, step)


def make_batch(labels: Labels, queries: Rows, config: TrainConfig, step: int) -> TrainBatch:
    """Draw C of each query's scored candidates and put them together.

    A query with fewer than C gives all it has, and each has at least one. Where duplicates are kept, which would count one drawn
    twice twice, C is at most the smallest number that a query of the batch has.

    Arguments:
        labels: of all queries.
        queries: [B] rows.
        config: C, seed and what happens to duplicates.
        step: enters the draw, so that every step draws anew.
    """
    scored = np.isfinite(labels.labels[queries])  # [B, k]
    counts = scored.sum(axis=1, dtype=np.uint32)
    c = min(config.passages_per_query, int(counts.min() if config.duplicates == "keep" else counts.max()))
    places = np.argsort(~scored, axis=1, kind="stable").astype(np.uint32)  # those of the scored candidates first, in order
    drawn = np.take_along_axis(places, sample_candidates(config.seed, step, queries, counts, c), axis=1)  # [B, C]
    rows = np.take_along_axis(labels.candidates.rows[queries], drawn, axis=1)  # [B, C]
    if config.duplicates == "keep":
        return _kept(labels, queries, drawn, rows)
    return _merged(labels, queries, rows)


def _kept(labels: Labels, queries: Rows, drawn: Rows, rows: Rows) -> TrainBatch:
    b, c = rows.shape
    matrix = np.full((b, b, c), -np.inf, dtype=np.float32)
    matrix[np.arange(b), np.arange(b)] = np.take_along_axis(labels.labels[queries], drawn, axis=1)
    return TrainBatch(queries, rows.reshape(-1), matrix.reshape(b, b * c))


def _merged(labels: Labels, queries: Rows, rows: Rows) -> TrainBatch:
    passages = np.unique(rows)  # [U]
    matrix = np.full((len(queries), len(passages)), -np.inf, dtype=np.float32)
    candidates = labels.candidates.rows[queries]  # [B, k]
    place = np.minimum(np.searchsorted(passages, candidates), len(passages) - 1)
    known = passages[place] == candidates  # a candidate that another query drew has a label here too
    b, j = np.nonzero(known)
    matrix[b, place[b, j]] = labels.labels[queries][b, j]
    return TrainBatch(queries, passages, matrix)
