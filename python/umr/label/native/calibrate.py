"""Calibration for int8: how to round a model's weights and inputs so that its scores change least, found on a few texts.

Inputs of some channels are a hundred times larger than others, and the first tokens of a text are extreme throughout. So
channels are evened out and turned (`smooth`), groups of 128 inputs have units of their own, codes make up for each other's
errors (`gptq`), and keys and values of the tokens that all texts begin with are kept exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from umr.errors import UsageError
from umr.label.native.gptq import compensated, nearest, units_of
from umr.label.native.inputs import BLOCK, Inputs, gather
from umr.label.native.smooth import best_smoothing, columns, smoothing, turn, turn_moments
from umr.label.native.weights import Place, Recipe, Site, products
from umr.progress import Reporter

PREFIX = 3  # tokens with exact keys and values
HEAD = 0.5  # exponent of the head's factors: the search is flat there, and a vocabulary is large
CHUNK = 8192  # rows of a vocabulary that are rounded at once


@torch.no_grad()
def calibrate(model: Any, sequences: Sequence[Sequence[int]], targets: Sequence[int], reporter: Reporter, first: int = 0) -> Recipe:
    """Find how int8 is to keep a model.

    Arguments:
        model: transformers model that the core knows, in float32 on the processor.
        sequences: token ids, each a prompt with its passage and then the question; two dozen are enough.
        targets: how many tokens at the end of each sequence are the question's.
        reporter: shows a bar.
        first: layers before this one are left out.

    Returns:
        the recipe; products whose inputs are no multiple of 128 are not in it. The same bytes for the same arguments and number
        of threads.

    Raises:
        ScoreError: the model gives values that are not finite.
        UsageError: no sequences, or one without a prompt or a question.
    """
    _check(sequences, targets)
    found = products(model).items()
    wanted = {place: modules for place, modules in found if place[0] >= first and _width(modules) % BLOCK == 0}
    ids = _beginning([ids[: len(ids) - count] for ids, count in zip(sequences, targets, strict=True)])
    sites = {}
    with reporter.bar("calibrating int8", len(sequences) + len(wanted), "steps") as bar:
        seen = gather(model, wanted, sequences, targets, len(ids), bar)
        for place, modules in wanted.items():
            sites[place] = _site(place, seen.pop(place), [m.weight.detach().float() for m in modules])
            bar.advance(1)
    return Recipe(sites, _prefix(model, ids), ids)


def _check(sequences: Sequence[Sequence[int]], targets: Sequence[int]) -> None:
    if not sequences or len(sequences) != len(targets):
        raise UsageError(
            f"{len(sequences)} sequences with {len(targets)} numbers of targets", "give one of each for every text, at least one"
        )
    for number, (ids, count) in enumerate(zip(sequences, targets, strict=True)):
        if not 0 < count < len(ids):
            raise UsageError(f"sequence {number} has {len(ids)} tokens and {count} targets", "give a prompt and at least one target")


def _width(modules: Sequence[nn.Linear]) -> int:
    return int(modules[0].weight.shape[1])


def _beginning(sources: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The tokens that all sources begin with, a few at most."""
    places = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*sources, strict=False))
    return tuple(tokens[0] for tokens in places)[:PREFIX]


def _prefix(model: Any, ids: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    """Keys, with their positions, and values of the first tokens: [tokens, heads x size] a layer."""
    from transformers import DynamicCache

    if not ids:
        return []
    cache = DynamicCache()  # one without windows, which would forget
    model.model(input_ids=torch.tensor([list(ids)]), past_key_values=cache, use_cache=True)
    layers: list[Any] = cache.layers
    return [(_flat(layer.keys), _flat(layer.values)) for layer in layers]


def _flat(part: Tensor) -> Tensor:
    """[tokens, heads x size] of one text's [1, heads, tokens, size]."""
    return part[0].transpose(0, 1).flatten(1).float().contiguous()


def _site(place: Place, inputs: Inputs, weights: Sequence[Tensor]) -> Site:
    if place[1] == "head":
        return _head(inputs, weights[0])
    factors = best_smoothing(inputs, weights)
    turned = turn(torch.cat(list(weights)) * factors)
    units = units_of(turned, BLOCK)
    codes = compensated(turned, units, turn_moments(inputs.moments, factors))
    return Site(codes, units, 1 / factors, BLOCK)


def _head(inputs: Inputs, weights: Tensor) -> Site:
    """A vocabulary is rounded to the nearest codes with one unit a row: the errors of its many rows do not add up."""
    factors = smoothing(inputs.largest, columns([weights]), HEAD)
    codes, units = torch.empty(weights.shape, dtype=torch.int8), torch.empty(len(weights), 1)
    for start in range(0, len(weights), CHUNK):
        turned = turn(weights[start : start + CHUNK] * factors)
        units[start : start + CHUNK] = some = units_of(turned, turned.shape[1])
        codes[start : start + CHUNK] = nearest(turned, some)
    return Site(codes, units, 1 / factors)
