"""The losses: KL from the labels to the encoder's distribution over passages (reference `BiEncoderInBatchKLLoss`, `BiEncoderKLLoss`)."""

from __future__ import annotations

import torch
from torch import Tensor

from umr.config import Negatives


def distillation_loss(similarities: Tensor, labels: Tensor, temperature: float, negatives: Negatives) -> Tensor:
    """KL(labels || encoder), mean over queries.

    The labels' distribution is the softmax of a row's finite labels; a passage without a label has no mass (the reference
    gives it log-probability -1000). The encoder's is the softmax of similarity / temperature over all passages of the
    batch (in-batch), or over the labelled ones alone (own).

    Arguments:
        similarities: [B, U] float32 inner products or cosines.
        labels: [B, U] float32 log-probabilities up to a constant a row, -inf where there is none.
        temperature: divides the similarities (1 in the reference).
        negatives: `in-batch` or `own`.

    Returns:
        scalar, nats a query.
    """
    labelled = torch.isfinite(labels)
    logits = similarities / temperature
    if negatives == "own":
        logits = logits.masked_fill(~labelled, float("-inf"))
    student = logits.log_softmax(dim=1)  # [B, U]
    teacher = labels.log_softmax(dim=1)  # [B, U], -inf where unlabelled
    gap = torch.where(labelled, teacher - student, torch.zeros_like(student))  # no inf - inf where there is no mass
    return (teacher.exp() * gap).sum(dim=1).mean()
