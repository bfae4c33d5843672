"""Vectors as a graph holds them: the nearest by Euclidean distance there is the best by inner product here.

With any centre m and l(p) = sqrt(M - |p|^2), M the largest |p|^2: |(q - m, 0) - (p - m, l(p))|^2 = |q|^2 + M - 2 q.p. The
mean as centre leaves the 8 bits of a code to what tells passages apart; the last dimension is there only where lengths
differ (Bachrach et al. 2014, "Speeding up the Xbox recommender system"). A query's own length changes no order: it is made sqrt(M),
so that the query lies where the passages do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from umr.search.lists import Floats

CODED_SHARE = 0.9999  # of the sample's values lie within the codes; the rest is cut
LEAST_RECALL = 0.99  # of the best that codes of 8 bits must find among twice as many, to be taken
EQUAL_LENGTHS = 1e-3  # spread of |p|^2, as a share of the largest, below which all count as equally long


@dataclass(frozen=True)
class Space:
    """How vectors enter the index.

    Arguments:
        centre: [d] float32 m.
        largest: M, the largest |p|^2.
        augmented: whether lengths differ, so that there is a last dimension.
        scale: what is stored is multiplied by it; brings the largest value near 1, or to 127.
        kind: of the stored values.
    """

    centre: Floats
    largest: float
    augmented: bool
    scale: float
    kind: Literal["i8", "bf16"]

    @property
    def dimensions(self) -> int:
        """Dimensions of the index."""
        return len(self.centre) + self.augmented

    def of_passages(self, vectors: Floats) -> NDArray[Any]:
        """Passages [m, d] as they are stored: int8, or float32 that the index itself rounds."""
        doubles = vectors.astype(np.float64)
        return self._placed(doubles, np.sqrt(np.maximum(self.largest - np.square(doubles).sum(axis=1), 0)))

    def of_queries(self, vectors: Floats) -> NDArray[Any]:
        """Queries [m, d] as they are looked up."""
        doubles = vectors.astype(np.float64)
        lengths = np.linalg.norm(doubles, axis=1)
        doubles *= (np.sqrt(self.largest) / np.where(lengths > 0, lengths, 1))[:, None]
        return self._placed(doubles, np.zeros(len(doubles)))

    def _placed(self, vectors: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[Any]:
        placed = vectors - self.centre
        if self.augmented:
            placed = np.concatenate([placed, last[:, None]], axis=1)
        placed *= self.scale
        return np.clip(np.rint(placed), -127, 127).astype(np.int8) if self.kind == "i8" else placed.astype(np.float32)


def space_for(sample: Floats, queries: Floats, shortest: float, longest: float, k: int) -> Space:
    """The space for some passages: codes of 8 bits where these keep what is best in the sample, else bf16.

    Arguments:
        sample: [s, d] some of the passages.
        queries: [m, d] some queries.
        shortest, longest: the least and the largest |p|^2 of all passages.
        k: how many passages a query will want.
    """
    centre = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    augmented = longest - shortest > EQUAL_LENGTHS * longest
    size = np.abs(Space(centre, longest, augmented, 1.0, "bf16").of_passages(sample).astype(np.float64))
    codes = Space(centre, longest, augmented, 127 / (float(np.quantile(size, CODED_SHARE)) or 1.0), "i8")
    if _recall(codes, sample, queries, k) >= LEAST_RECALL:
        return codes
    return Space(centre, longest, augmented, 1 / (float(size.max()) or 1.0), "bf16")


def _recall(space: Space, sample: Floats, queries: Floats, k: int) -> float:
    """The share of the k best of the sample that is among the 2 k nearest in the space, ties counted as found."""
    k = min(k, max(1, len(sample) // 8))
    scores = queries.astype(np.float64) @ sample.T.astype(np.float64)
    placed, asked = space.of_passages(sample).astype(np.float64), space.of_queries(queries).astype(np.float64)
    distances = np.square(placed).sum(axis=1) - 2 * asked @ placed.T
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : 2 * k]
    found = -np.sort(-np.take_along_axis(scores, nearest, axis=1), axis=1)[:, :k]
    floor = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    return float(np.mean(found >= floor))
