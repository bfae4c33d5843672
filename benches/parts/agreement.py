"""Are two top-k lists the same answer? Bitwise against the slow twin, within rounding against a rival."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.harness import DiffersError

Rows = NDArray[Any]
Floats = NDArray[np.float32]
LANES = 8  # of rust/src/dot.rs
BLOCK = 16_384  # passages scored at once
TOLERANCE = 1e-6


def twin_scores(query: Floats, passages: Floats) -> Floats:
    """The definition of a score (rust/src/dot.rs): exact products in f64, eight lanes, a fixed tree, rounded once to f32.

    Arguments:
        query: [d].
        passages: [n, d].
    """
    width = -(-len(query) // LANES) * LANES
    left = np.zeros(width, dtype=np.float64)
    left[: len(query)] = query
    out = np.empty(len(passages), dtype=np.float32)
    for start in range(0, len(passages), BLOCK):
        right = np.zeros((min(BLOCK, len(passages) - start), width), dtype=np.float64)
        right[:, : len(query)] = passages[start : start + BLOCK]
        lanes = np.zeros((len(right), LANES), dtype=np.float64)
        for at in range(0, width, LANES):  # one step of every lane, in order
            lanes += left[at : at + LANES] * right[:, at : at + LANES]
        a, b, c, d, e, f, g, h = lanes.T
        out[start : start + BLOCK] = (((a + e) + (c + g)) + ((b + f) + (d + h))).astype(np.float32)
    return out


def require_twin(query: Floats, passages: Floats, rows: Rows, scores: Floats) -> None:
    """One list must be the full sort by the twin's scores: the same rows, the same bits.

    Raises:
        DiffersError: it is not.
    """
    all_scores = twin_scores(query, passages)
    order = np.lexsort((np.arange(len(all_scores)), -all_scores.astype(np.float64)))[: len(rows)]
    if not np.array_equal(order, rows):
        raise DiffersError(f"rows {rows[:5]}... but the twin has {order[:5]}...")
    if not np.array_equal(all_scores[order].view(np.uint32), scores.view(np.uint32)):
        raise DiffersError("the scores are not the twin's, bit by bit")


def require_same(name: str, ours: tuple[Rows, Floats], theirs: tuple[Rows, Floats]) -> float:
    """Scores within 1e-6 rank by rank and id by id, and the same ids wherever scores differ by more.

    Arguments:
        name: of the rival.
        ours, theirs: rows [Q, k] and scores [Q, k].

    Returns:
        the largest difference of two scores.

    Raises:
        DiffersError: the lists are not the same answer.
    """
    if ours[0].shape != theirs[0].shape:
        raise DiffersError(f"{name}: lists of {theirs[0].shape}, ours of {ours[0].shape}")
    worst = float(np.abs(ours[1].astype(np.float64) - theirs[1]).max())
    for number in range(len(ours[0])):
        mine, other = (dict(zip(x[0][number].tolist(), x[1][number].tolist(), strict=True)) for x in (ours, theirs))
        both = mine.keys() & other.keys()
        worst = max([worst, *(abs(mine[row] - other[row]) for row in both)])
        _require_edge(name, number, mine, other)
        _require_edge(name, number, other, mine)
    if not worst <= TOLERANCE:
        raise DiffersError(f"{name}: a score is off by {worst:.3g}")
    return worst


def _require_edge(name: str, number: int, one: dict[int, float], other: dict[int, float]) -> None:
    """What only one list has must score like the last of the other."""
    last = min(other.values())
    strange = [row for row, score in one.items() if row not in other and score > last + TOLERANCE]
    if strange:
        score = one[strange[0]]
        raise DiffersError(
            f"{name}: query {number}: row {strange[0]} with {score:.8f} is missing in the other list, which ends at {last:.8f}"
        )


def recall(ours: Rows, theirs: Rows) -> float:
    """The share of our rows that the rival found too."""
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(ours.tolist(), theirs.tolist(), strict=False)]))
