"""The common face of the scorers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from umr.label.pack import Tree

Unit = Literal["packed", "padded"]


class Scorer(Protocol):
    """A language model that scores trees of token ids.

    A tree is a passage with its queries. Of a causal model the trunk is what the sources of all its queries begin with, and
    a branch is the rest of the source, then the target. Of an encoder-decoder the trunk is the whole source of a passage in
    one language, and a branch is the target alone.
    """

    @property
    def unit(self) -> Unit:
        """`packed` where a batch has no padding, `padded` where it is filled up to its longest rows."""
        ...

    @property
    def bytes_per_token(self) -> int:
        """Working memory that one more token in a batch takes, estimated."""
        ...

    def score(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """Score one batch.

        Arguments:
            trees: what fits into memory together.

        Returns:
            [m] float32 nats, one a branch, in order of trees and branches; the value of a branch never depends on what
            else is in the call, up to rounding.
        """
        ...

    def flops(self, trees: Sequence[Tree]) -> float:
        """Useful floating-point operations of scoring these trees: no padding, no token computed twice."""
        ...
