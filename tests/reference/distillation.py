"""The losses as loops over their definition, in Python floats: the slow twin of `umr.train.distillation`.

`reference_loss` is the paper's code (`BiEncoderInBatchKLLoss`, `BiEncoderKLLoss`) step by step: the teacher multiplies
by its "temperature", passages of other queries get log-probability -1000, duplicates stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]


def log_softmax(values: Row) -> list[float]:
    """Log-softmax of one row, the largest value taken out first."""
    top = max(values)
    total = top + math.log(sum(math.exp(v - top) for v in values))
    return [v - total for v in values]


def loss(similarities: Sequence[Row], labels: Sequence[Row], temperature: float, own: bool) -> float:
    """KL(labels || encoder), mean over queries; a label of -inf is none.

    Arguments:
        similarities: [B][U].
        labels: [B][U] log-probabilities up to a constant a row.
        temperature: divides the similarities.
        own: the encoder's softmax runs over the labelled passages alone.
    """
    total = 0.0
    for row, wanted in zip(similarities, labels, strict=True):
        labelled = [j for j, value in enumerate(wanted) if value > -math.inf]
        over = labelled if own else list(range(len(row)))
        student = dict(zip(over, log_softmax([row[j] / temperature for j in over]), strict=True))
        teacher = dict(zip(labelled, log_softmax([wanted[j] for j in labelled]), strict=True))
        total += sum(math.exp(teacher[j]) * (teacher[j] - student[j]) for j in labelled)
    return total / len(similarities)


def reference_loss(
    queries: Sequence[Row], passages: Sequence[Sequence[Row]], scores: Sequence[Row], multiplier: float, in_batch: bool
) -> float:
    """The paper's code: B queries with C passages each.

    Arguments:
        queries: [B][d].
        passages: [B][C][d], duplicates kept.
        scores: [B][C] mean log-likelihoods.
        multiplier: the flag that the code calls temperature.
        in_batch: softmax over all B x C passages, else over a query's own C.
    """
    total = 0.0
    for i, query in enumerate(queries):
        groups = passages if in_batch else [passages[i]]
        student = log_softmax([sum(a * b for a, b in zip(query, p, strict=True)) for group in groups for p in group])
        own = log_softmax([s * multiplier for s in scores[i]])
        teacher = [value for j in range(len(passages)) for value in (own if j == i else [-1000.0] * len(own))] if in_batch else own
        total += sum(math.exp(t) * (t - s) for t, s in zip(teacher, student, strict=True))
    return total / len(queries)


def margins(similarities: Sequence[Row], labels: Sequence[Row], temperature: float) -> float:
    """MarginMSE: distances to the query's best-labelled passage, of the encoder and of the labels, one pair after the other."""
    total = 0.0
    for row, wanted in zip(similarities, labels, strict=True):
        best = max(range(len(wanted)), key=lambda j: (wanted[j], -j))
        others = [j for j, value in enumerate(wanted) if value > -math.inf and j != best]
        gaps = [((row[best] - row[j]) / temperature - (wanted[best] - wanted[j])) ** 2 for j in others]
        total += sum(gaps) / max(1, len(gaps))
    return total / len(similarities)


def contrast(similarities: Sequence[Row], labels: Sequence[Row], temperature: float) -> float:
    """InfoNCE with the best-labelled passage as the positive."""
    total = 0.0
    for row, wanted in zip(similarities, labels, strict=True):
        best = max(range(len(wanted)), key=lambda j: (wanted[j], -j))
        total -= log_softmax([value / temperature for value in row])[best]
    return total / len(similarities)


def near(similarities: Sequence[Row], labels: Sequence[Row]) -> list[list[bool]]:
    """Which passages have no label and are at least as near as the best-labelled one."""
    found = []
    for row, wanted in zip(similarities, labels, strict=True):
        best = max(range(len(wanted)), key=lambda j: (wanted[j], -j))
        found.append([wanted[j] == -math.inf and row[j] >= row[best] for j in range(len(row))])
    return found
