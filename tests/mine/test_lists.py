"""Merging lists, and finding passages in them."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from mine.drawn import SEEDS, plain
from umr.data.candidates import PADDING
from umr.mine.lists import interleave, places_of


def test_the_merged_list_of_longer_lists_begins_with_that_of_shorter_ones() -> None:
    rng = np.random.default_rng(0)
    rows = [np.stack([rng.permutation(20) for _ in range(3)]).astype(np.uint32) for _ in range(3)]
    long = interleave(rows)
    for depth in range(1, 20):
        short = plain(interleave([r[:, :depth] for r in rows]))
        assert [line[: len(found)] for line, found in zip(plain(long), short, strict=True)] == short


@given(SEEDS)
def test_places_are_those_of_a_search_through_the_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, w = int(rng.integers(1, 4)), int(rng.integers(0, 6))
    rows = np.stack([rng.permutation(8)[:w] for _ in range(q)]).astype(np.uint32).reshape(q, w)
    wanted = np.where(rng.random((q, 5)) < 0.2, PADDING, rng.integers(0, 8, (q, 5))).astype(np.uint32)
    slowly = [[line.index(row) if row in line else -1 for row in asked] for line, asked in zip(rows.tolist(), wanted.tolist(), strict=True)]
    assert places_of(rows, wanted).tolist() == slowly
