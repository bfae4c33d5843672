"""Scores trees with the compiled core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from umr._rust import Decoder
from umr.config import Reduction
from umr.label.cost import Shape, shape_of
from umr.label.likelihood import reduce
from umr.label.pack import Pack, Tree, pack

BATCH = 4096  # tokens beyond which little gets faster; a bar steps by a batch, and a killed run repeats one


class NativeScorer:
    """Scores with our own decoder on the processor.

    Arguments:
        model: transformers model; its embeddings are looked up, the rest is packed already.
        decoder: the packed weights.
        reduction: mean or sum over target tokens.
        prefix: token ids whose keys and values the decoder knows.
    """

    unit: Literal["packed"] = "packed"
    most_tokens = BATCH

    def __init__(self, model: Any, decoder: Decoder, reduction: Reduction, prefix: Sequence[int] = ()) -> None:
        self.decoder, self.reduction, self.prefix = decoder, reduction, list(prefix)
        self.shape: Shape = shape_of(model)
        table = model.get_input_embeddings()
        self._table = table.weight.detach()
        self._factor = float(getattr(table, "scalar_embed_scale", 1.0))
        typed = getattr(model.config, "layer_types", None)
        window = getattr(model.config, "sliding_window", None)
        self._window = window if window and (not typed or "sliding_attention" in typed) else None

    @property
    def bytes_per_token(self) -> int:
        """Working memory that one more token in a batch takes, estimated: states in float32."""
        return 4 * (3 * self.shape.width + 4 * self.shape.attention) + 2 * 64 * 128

    def flops(self, trees: Sequence[Tree]) -> float:
        """Useful floating-point operations of scoring these trees."""
        return sum(self.shape.causal(pack([tree]), self._window) for tree in trees)

    def score(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """Score one batch.

        Arguments:
            trees: what fits into memory together.

        Returns:
            [m] float32 nats, one a branch, in order of trees and branches; the bytes of a score depend on nothing else.
        """
        if not trees:
            return np.empty(0, dtype=np.float32)
        row = pack(trees)
        found = self.decoder.logp(
            self._states(row), row.parent, row.trees, self._known(row), row.predict, row.rows, row.targets
        )  # fmt: skip
        return reduce(torch.from_numpy(found), row.owner, row.branches, self.reduction)

    def _states(self, row: Pack) -> NDArray[np.float32]:
        """[T, H] embeddings."""
        states = self._table[torch.from_numpy(row.ids)].float()
        return (states * self._factor if self._factor != 1 else states).numpy()  # type: ignore[no-any-return]

    def _known(self, row: Pack) -> NDArray[np.int32]:
        """[T] which token of the prefix a token is, -1 where it is none."""
        known = np.full(len(row.ids), -1, dtype=np.int32)
        for start, end, _ in row.trees.tolist():
            for at, token in enumerate(self.prefix[: end - start]):
                if row.ids[start + at] != token:
                    break
                known[start + at] = at
        return known
