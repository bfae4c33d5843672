"""What there is to score: pairs grouped by passage, and the scorers' common face."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Scored = tuple[list[int], NDArray[np.float32]]  # pair numbers [m], scores [m] in nats


@dataclass(frozen=True)
class Question:
    """One query of a group.

    Arguments:
        pair: the pair's number in the plan.
        text: of the query.
        lang: its language code.
    """

    pair: int
    text: str
    lang: str


@dataclass(frozen=True)
class Group:
    """A passage and the queries that mined it."""

    title: str
    text: str
    questions: list[Question]


class Scorer(Protocol):
    """A language model that scores groups."""

    def score(self, groups: Iterable[Group]) -> Iterator[Scored]:
        """Scores, a forward pass at a time; every pair exactly once, in any order."""
        ...
