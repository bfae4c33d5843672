"""Weights that are averaged: over the steps of a training, with those before it, and over trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from umr.encoder.means import Means, SideMeans, Vectors

MERGED = (0.25, 0.5, 0.75, 1.0)  # shares of the trained weights that are tried

Weights = Mapping[str, nn.Parameter]


class MovingAverage:
    """An exponential moving average of the weights that are trained; none where the decay is 0.

    Arguments:
        weights: that are trained.
        decay: of the average; after s steps at most (1 + s) / (10 + s), so that the first weights are soon forgotten.
    """

    def __init__(self, weights: Weights, decay: float) -> None:
        self.weights, self.decay = weights, decay
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in weights.items()} if decay else {}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the weights after so many steps."""
        share = 1 - min(self.decay, (1 + steps) / (10 + steps))
        for name, value in self.values.items():
            value.lerp_(self.weights[name], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in place of the weights, which come back afterwards."""
        held = {name: self.weights[name].detach().clone() for name in self.values}
        put(self.weights, self.values)
        try:
            yield
        finally:
            put(self.weights, held)


@torch.no_grad()
def put(weights: Weights, values: Mapping[str, Tensor]) -> None:
    """Copy values into the weights of the same names."""
    for name, value in values.items():
        weights[name].copy_(value)


@torch.no_grad()
def merge_with_start(weights: Weights, start: Mapping[str, Tensor], loss: Callable[[], float]) -> tuple[float, dict[float, float]]:
    """Put the mix of the weights before and after a training in place whose loss is the least; a tie: more of the trained ones.

    Arguments:
        weights: after the training.
        start: before it.
        loss: of the encoders with the weights that are in place.

    Returns:
        the share of the trained weights, and the loss of every share that was tried.
    """
    after = {name: value.detach().clone() for name, value in weights.items()}

    def mix(share: float) -> None:
        # An adapter is a product of two: with one factor as trained, the other's share is the share of the product.
        put(weights, {name: torch.lerp(start[name], value, share) for name, value in after.items() if "lora_A" not in name})

    losses = {}
    for share in MERGED:
        mix(share)
        losses[share] = loss()
    best = min(losses, key=lambda share: (losses[share], -share))
    mix(best)
    return best, losses


def average_encoders(folders: Sequence[Path | str], out: Path | str) -> Path:
    """Average the weights of encoders that began as one, such as trainings with several seeds (Wortsman et al. 2022,
    arXiv 2203.05482).

    Arguments:
        folders: of the encoders, as umr writes them.
        out: the folder that is written.

    Returns:
        that folder.

    Raises:
        UsageError: fewer than two encoders.
        InputError: `out` is there already.
        MismatchError: they are not of one form: settings, names or shapes of weights, or means that they are centred with.
    """
    from umr.encoder.export import save_encoder
    from umr.encoder.load import load_encoder
    from umr.errors import InputError, MismatchError, UsageError

    out, names = Path(out), [str(folder) for folder in folders]
    if len(names) < 2:
        raise UsageError(f"{len(names)} encoders are given, and an average is of two at least", "name the folder of each training")
    if out.exists():
        raise InputError(f"{out} is there already, and is not written over", "give another folder")
    first, *others = (load_encoder(name) for name in names)
    for at, other in enumerate(others, 1):
        for what, a, b in (
            ("settings", first.query.settings, other.query.settings),
            ("means", _kind(first.means), _kind(other.means)),
            ("tied sides", first.tied, other.tied),
            ("weights", _shapes(first.query), _shapes(other.query)),
            ("weights", _shapes(first.passage), _shapes(other.passage)),
        ):
            if a != b:
                raise MismatchError(f"{names[0]} and {names[at]} differ in their {what}", "average trainings of one start and one round")
    _average([encoder.query for encoder in (first, *others)])
    if not first.tied:
        _average([encoder.passage for encoder in (first, *others)])
    save_encoder(replace(first, means=_mean([one.means for one in (first, *others) if one.means])), out)
    return out


def _kind(means: Means | None) -> Any:
    """What means have to have in common: all but the vectors that they were estimated from."""
    if means is None:
        return None
    made_from = {key: value for key, value in means.made_from.items() if key not in ("passage_vectors", "query_vectors", "average_of")}
    return means.centre, means.normalise, means.passages.langs, means.queries.langs, made_from


def _mean(several: Sequence[Means]) -> Means | None:
    """The average of what several trainings are centred with; the same where it is the same."""
    if len({means.fingerprint for means in several}) < 2:
        return next(iter(several), None)
    first = several[0]
    passages, queries = (_mean_side([one.passages for one in several]), _mean_side([one.queries for one in several]))
    whitenings = [one.whitening for one in several if one.whitening is not None]
    made_from = {**first.made_from, "average_of": [one.fingerprint for one in several]}
    return Means(first.centre, first.normalise, passages, queries, made_from, _mean_table(whitenings) if whitenings else None)


def _mean_side(several: Sequence[SideMeans]) -> SideMeans:
    return replace(several[0], table=_mean_table([one.table for one in several]))


def _mean_table(several: Sequence[Vectors]) -> Vectors:
    mean: Vectors = np.stack(several).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _shapes(encoder: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in encoder.named_parameters()}


@torch.no_grad()
def _average(encoders: Sequence[nn.Module]) -> None:
    """Put the mean of all weights into the first encoder; sums are in f64."""
    held = [dict(encoder.named_parameters()) for encoder in encoders]
    for name, value in held[0].items():
        value.copy_(torch.stack([weights[name].double() for weights in held]).mean(dim=0))
