"""What a batch is judged by: similarities of queries and passages beside the labels (paper, section 3.3).

Everywhere similarities [B, U] are float32 inner products or cosines of B queries and the U passages of the batch, and labels
[B, U] are log-probabilities up to a constant a row, -inf where a query has none for a passage. A temperature divides similarities.
"""

from __future__ import annotations

import torch
from torch import Tensor

from umr.config import Negatives, TrainConfig

NOTHING = float("-inf")


def training_loss(similarities: Tensor, labels: Tensor, temperature: float, config: TrainConfig) -> Tensor:
    """The loss that the settings name: KL or margins, and InfoNCE beside it; likely false negatives left out where asked.

    Returns:
        scalar, nats a query (MarginMSE: squared nats).
    """
    if config.false_negatives == "mask":
        similarities = similarities.masked_fill(false_negatives(similarities, labels), NOTHING)
    if config.objective == "margin-mse":
        loss = margin_loss(similarities, labels, temperature)
    else:
        loss = distillation_loss(similarities, labels, temperature, config.negatives)
    return loss + config.contrast * contrastive_loss(similarities, labels, temperature) if config.contrast else loss


def distillation_loss(similarities: Tensor, labels: Tensor, temperature: float, negatives: Negatives) -> Tensor:
    """KL(labels || encoder), mean over queries (reference `BiEncoderInBatchKLLoss`, `BiEncoderKLLoss`).

    The labels' distribution is the softmax of a row's finite labels; a passage without a label has no mass (the reference
    gives it log-probability -1000). The encoder's is the softmax of similarity / temperature over all passages of the
    batch (in-batch), or over the labelled ones alone (own).

    Arguments:
        similarities, labels, temperature: as above; -inf for a passage that is left out, which has no label.
        negatives: `in-batch` or `own`.

    Returns:
        scalar, nats a query.
    """
    labelled = torch.isfinite(labels)
    logits = similarities / temperature
    if negatives == "own":
        logits = logits.masked_fill(~labelled, NOTHING)
    student = logits.log_softmax(dim=1)  # [B, U]
    teacher = labels.log_softmax(dim=1)  # [B, U], -inf where unlabelled
    gap = torch.where(labelled, teacher - student, torch.zeros_like(student))  # no inf - inf where there is no mass
    return (teacher.exp() * gap).sum(dim=1).mean()


def margin_loss(similarities: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """MarginMSE (Hofstaetter et al. 2020, arXiv 2010.02666): the distance of a query's best passage to each other labelled one
    is to be the labels'; mean over the other ones, then over queries.
    """
    labelled = torch.isfinite(labels)
    best = labels.argmax(dim=1, keepdim=True)  # [B, 1]
    gaps = [values.gather(1, best) - values for values in (similarities / temperature, labels)]  # [B, U] each
    off = torch.where(labelled, gaps[0] - gaps[1], torch.zeros_like(similarities))  # before the square: its gradient at inf is none
    return ((off**2).sum(dim=1) / (labelled.sum(dim=1) - 1).clamp(min=1)).mean()


def contrastive_loss(similarities: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) with the best-labelled passage as the positive, mean over queries."""
    return torch.nn.functional.cross_entropy(similarities / temperature, labels.argmax(dim=1))


def false_negatives(similarities: Tensor, labels: Tensor) -> Tensor:
    """[B, U] passages without a label that are at least as near as the query's best-labelled one: likely as good an answer
    (as GISTEmbed leaves them out, Solatorio 2024, arXiv 2402.16829, with the encoder itself as the guide).
    """
    best = similarities.gather(1, labels.argmax(dim=1, keepdim=True))  # [B, 1]
    return ~torch.isfinite(labels) & (similarities >= best)


def agreement(similarities: Tensor, labels: Tensor) -> Tensor:
    """How many queries have the same passage first by the encoder and by the labels, of those with labels: a scalar."""
    among = similarities.masked_fill(~torch.isfinite(labels), NOTHING)
    return (among.argmax(dim=1) == labels.argmax(dim=1)).sum()
