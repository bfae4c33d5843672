"""What reaches the products of a model while it reads: largest values, second moments, and a few rows to try things on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from umr.errors import ScoreError
from umr.label.native.weights import Place
from umr.progress import Bar

BLOCK = 128  # inputs that are turned together and share a unit
ROWS = 256  # rows kept of a product


class Inputs:
    """The inputs x [K] of one product.

    Second moments are kept of each block of inputs alone. Rounding needs no others, and all of them would be K / 128 times as much.

    Arguments:
        width: K, a multiple of 128.
        sequences: among which the kept rows are divided.
    """

    def __init__(self, width: int, sequences: int) -> None:
        self.largest = torch.zeros(width)  # [K] of |x|
        self.moments = torch.zeros(width // BLOCK, BLOCK, BLOCK)  # sum of x x^T
        self._each = -(-ROWS // sequences)
        self._rows: list[Tensor] = []

    def add(self, states: Tensor) -> None:
        """Take note of the inputs [T, K] of one sequence, of which evenly spaced ones are kept."""
        if not len(states):
            return
        self.largest = torch.maximum(self.largest, states.abs().amax(0))
        blocks = states.reshape(len(states), -1, BLOCK).permute(1, 2, 0)
        self.moments.baddbmm_(blocks, blocks.mT)
        self._rows.append(states[torch.linspace(0, len(states) - 1, min(self._each, len(states))).long()])

    @property
    def rows(self) -> Tensor:
        """[r, K] some of the inputs."""
        return torch.cat(self._rows) if self._rows else torch.zeros(0, len(self.largest))


def gather(
    model: Any, products: Mapping[Place, list[nn.Linear]], sequences: Sequence[Sequence[int]], targets: Sequence[int], skip: int, bar: Bar
) -> dict[Place, Inputs]:
    """Let a model read sequences and note what reaches its products.

    Arguments:
        model: transformers model in float32.
        products: the modules of each product that is asked for.
        sequences: token ids.
        targets: how many at the end of each are targets; the head is noted where it predicts these.
        skip: tokens at the beginning of each that are left out.
        bar: advanced by one a sequence.

    Raises:
        ScoreError: an input is not finite.
    """
    seen = {place: Inputs(modules[0].weight.shape[1], len(sequences)) for place, modules in products.items()}
    head = next((seen[place] for place in seen if place[1] == "head"), None)
    with _taps({place: modules[0] for place, modules in products.items() if place[1] != "head"}, seen, skip):
        for ids, count in zip(sequences, targets, strict=True):
            last = model.model(input_ids=torch.tensor([list(ids[:-1])]), use_cache=False).last_hidden_state[0]
            if head is not None:
                head.add(last[-count:].float())
            bar.advance(1)
    _check(seen)
    return seen


@contextmanager
def _taps(modules: Mapping[Place, nn.Module], seen: Mapping[Place, Inputs], skip: int) -> Iterator[None]:
    """Note what reaches modules while the context is open."""

    def tap(inputs: Inputs) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: inputs.add(given[0][0, skip:].float())

    hooks = [module.register_forward_pre_hook(tap(seen[place])) for place, module in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check(seen: Mapping[Place, Inputs]) -> None:
    for (layer, name), inputs in seen.items():
        if not inputs.largest.isfinite().all():
            raise ScoreError(f"an input of product {name} of layer {layer} is not finite", "use --precision fp32 or another model")
