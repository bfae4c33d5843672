"""Scorers: language models that turn token ids into log-likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from umr.label.scorers.cost import Cost
from umr.label.scorers.trees import Tree

REFUSALS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # how a model says that it does not compute as was tried
ENGINE = "torch-1"  # in every score store's identity: a change that moves scores beyond their tolerance gets another name


class Scorer(Protocol):
    """A language model that scores trees of token ids.

    A tree is a passage with its queries. Of a causal model the trunk is what the sources of all its queries begin with, and
    a branch is the rest of the source, then the target. Of an encoder-decoder the trunk is the whole source of a passage in
    one language, and a branch is the target alone.
    """

    share: bool
    """Whether a tree may hold several pairs; where it is off, each tree has to be one pair."""
    cost: Cost
    """Of the model."""

    @property
    def bytes_per_token(self) -> int:
        """Working memory that one more token in a batch takes, estimated."""
        ...

    def score(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """Score one batch.

        Arguments:
            trees: what fits into memory together.

        Returns:
            [m] float32 nats, one a branch, in order of trees and branches; what else is in the call moves a score by
            rounding alone.
        """
        ...

    def flops(self, trees: Sequence[Tree]) -> float:
        """Floating-point operations that the products with weights take for these trees, without padding."""
        return sum(self.cost.flops(tree) for tree in trees)
