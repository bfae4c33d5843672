from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from umr._rust import permutation, plan_batches, sample_candidates
from umr.errors import UmrError, UsageError

from .conftest import rows


def test_a_plan_covers_every_row_within_the_budget() -> None:
    lengths = np.random.default_rng(1).integers(0, 300, 1000).astype(np.uint32)
    order, bounds = plan_batches(lengths, 2048, 64)
    assert order.dtype == bounds.dtype == np.uint32
    assert sorted(order.tolist()) == list(range(1000))
    for start, end in pairwise(bounds):
        batch = lengths[order[start:end]]
        assert 1 <= len(batch) <= 64
        assert len(batch) * batch[0] <= 2048
    with pytest.raises(UsageError, match="budget"):
        plan_batches(lengths, 0, 64)


def test_draws_depend_on_seed_step_and_query_alone() -> None:
    queries, counts = rows(3, 9, 4), rows(100, 100, 2)
    drawn = sample_candidates(5, 11, queries, counts, 16)
    assert drawn.shape == (3, 16)
    assert drawn[1].tolist() == sample_candidates(5, 11, rows(9), rows(100), 16)[0].tolist()
    assert len(set(drawn[0].tolist())) == 16
    assert drawn[2].tolist() == [*drawn[2][:2].tolist()] * 8
    assert drawn[0].tolist() != sample_candidates(5, 12, queries, counts, 16)[0].tolist()
    assert drawn[0].tolist() != sample_candidates(6, 11, queries, counts, 16)[0].tolist()


def test_the_draws_of_a_seed_are_pinned() -> None:
    assert sample_candidates(1, 2, rows(3), rows(50), 6).tolist() == [PINNED_DRAW]
    assert permutation(1, 2, 8).tolist() == PINNED_ORDER


PINNED_DRAW = [32, 7, 39, 44, 37, 21]
PINNED_ORDER = [7, 4, 5, 0, 3, 2, 6, 1]


def test_a_permutation_holds_every_row_once() -> None:
    order = permutation(1, 0, 1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != permutation(1, 1, 1000).tolist()
    assert permutation(1, 0, 0).shape == (0,)


def test_a_query_without_candidates_is_named() -> None:
    with pytest.raises(UsageError, match="query 7 has no candidates"):
        sample_candidates(1, 2, rows(7), rows(0), 3)
    with pytest.raises(UsageError, match="1 queries and 2 counts"):
        sample_candidates(1, 2, rows(7), rows(1, 1), 3)


def test_a_panic_becomes_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UmrError, match="internal error: capacity overflow") as caught:
        sample_candidates(1, 2, rows(7), rows(1), 2**62)
    assert type(caught.value) is UmrError
    assert "report it" in caught.value.hint
