"""Which passages become candidates, one query at a time with plain lists: the rules as docs/loop.md says them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Alike = Callable[[int, int], bool]


def full_sort(
    queries: NDArray[np.float32], passages: NDArray[np.float32], k: int, only: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Rows and scores of the k best passages; where `only` leaves fewer, row 2**32 - 1 and score -inf."""
    scores = (queries.astype(np.float64) @ passages.T.astype(np.float64)).astype(np.float32)
    if only is not None:
        scores = np.where(only, scores, np.float32(-np.inf))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, order, axis=1)
    return np.where(np.isneginf(found), 2**32 - 1, order).astype(np.uint32), found


def merged(rankings: Sequence[Sequence[int]]) -> list[int]:
    """The first of every ranking, then the second of every one; each passage once."""
    found: list[int] = []
    for rank in range(max(len(ranking) for ranking in rankings)):
        for ranking in rankings:
            if rank < len(ranking) and ranking[rank] not in found:
                found.append(ranking[rank])
    return found


def least_score(scores: Sequence[float], rows: Sequence[int], own: int, min_score: float, margin: float) -> float:
    """The score that a candidate must have."""
    best = max((scores[p] for p in rows if p != own), default=-np.inf)
    return max(float(np.float32(min_score)), float(np.float32(best) - np.float32(margin)))


def choose(
    rankings: Sequence[Sequence[int]], scores: Sequence[float], k: int, own: int, floor: float, first_rank: int, alike: Alike
) -> tuple[list[int], list[int]]:
    """The candidates of one query, and what was passed over for its rank."""
    left: list[int] = []
    for p in merged(rankings):
        if p != own and scores[p] >= floor and not any(alike(p, other) for other in left):
            left.append(p)
    return left[first_rank - 1 : first_rank - 1 + k], left[: first_rank - 1]


def spread(
    chosen: list[int],
    passed: list[int],
    scores: Sequence[float],
    langs: Sequence[int],
    least: int,
    k: int,
    own: int,
    floor: float,
    alike: Alike,
    rare: Sequence[int] = (),
) -> list[int]:
    """The same candidates with at least so many of every language that is not rare, as far as the rules leave them."""
    extra: list[int] = []
    for lang in sorted(set(langs) - set(rare)):
        ranking = sorted((p for p in range(len(langs)) if langs[p] == lang), key=lambda p: (-scores[p], p))
        for p in ranking:
            have = sum(langs[q] == lang for q in chosen + extra)
            taken = chosen + passed + extra
            if have < least and p not in taken and p != own and scores[p] >= floor and not any(alike(p, q) for q in taken):
                extra.append(p)
    found = list(chosen)
    while len(found) + len(extra) > k:
        spare = [langs[p] in rare or sum(langs[q] == langs[p] for q in found + extra) > least for p in found]
        last = max(i for i, may_go in enumerate(spare) if may_go)
        del found[last]
    return found + extra


def jaccard(a: str, b: str, letters: int = 5) -> float:
    """The share of runs of letters that two texts without spaces have in common."""

    def runs(text: str) -> set[str]:
        text = text.replace(" ", "")
        return {text[i : i + letters] for i in range(max(1, len(text) - letters + 1))}

    return len(runs(a) & runs(b)) / len(runs(a) | runs(b))


def bm25(documents: Sequence[Sequence[str]], query: Sequence[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """The BM25 score of every document, in Lucene's form."""
    average = sum(map(len, documents)) / len(documents)
    found = []
    for words in documents:
        score = 0.0
        for word in query:
            holding = sum(word in other for other in documents)
            idf = np.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            often = words.count(word)
            score += idf * often / (often + k1 * (1 - b + b * len(words) / average))
        found.append(float(score))
    return found
