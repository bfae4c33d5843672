"""Exact search through torch: the same rows and the same bits as one number at a time gives, whatever the sizes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from reference.scoring import top
from search.rig import Floats, kept, require_same, spoil, stored, tasks
from umr.config import StoredPrecision
from umr.errors import ScoreError, UsageError
from umr.search import gpu
from umr.search.bounds import MOST_DIMENSIONS, HalfPrecisionQueries, exponent, half_precision
from umr.search.exact import top_k
from umr.search.gpu import sizes_for, top_k_on
from umr.search.scoring import Best

CPU = torch.device("cpu")


@settings(deadline=None, max_examples=150)
@given(tasks(), st.sampled_from([1, 2000, 8000, 1 << 26]), st.integers(1, 50))
@example((np.zeros((2, 3), np.float32), np.zeros((5, 3), np.float32), 5), 2000, 2)
def test_every_list_is_the_sorted_one(task: tuple[Floats, Floats, int], memory: int, shard_rows: int) -> None:
    queries, passages, k = task
    with kept(passages, shard_rows=shard_rows) as store:
        found = top_k_on(CPU, queries, store, k, memory=memory)
        require_same(found, top(queries.tolist(), passages.tolist(), k))
        require_same(found, top_k(queries, store, k))


@settings(deadline=None, max_examples=60)
@given(tasks(), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.sampled_from([2000, 1 << 26]))
def test_only_some_passages(task: tuple[Floats, Floats, int], seed: int, share: float, memory: int) -> None:
    queries, passages, k = task
    only = np.random.default_rng(seed).random(len(passages)) < share
    with kept(passages) as store:
        found = top_k_on(CPU, queries, store, k, memory=memory, only=only)
    require_same(found, top(queries.tolist(), passages.tolist(), k, only.tolist()))


@settings(deadline=None, max_examples=100)
@given(tasks(), st.booleans())
def test_bounds_hold_in_exact_arithmetic(task: tuple[Floats, Floats, int], centred: bool) -> None:
    queries, passages, k = task
    centre = passages.mean(axis=0) if centred else np.zeros(passages.shape[1], dtype=np.float32)
    power = exponent(float(max(np.abs(passages).max(), np.abs(centre).max())))
    half_queries, scale = HalfPrecisionQueries(queries, centre, CPU), np.float32(2.0**-power)
    screened = half_precision(torch.from_numpy(passages * scale - centre * scale))
    every = slice(0, len(queries))
    upper = half_queries.upper_bounds(every, screened)
    lowest = half_queries.lower_bound(every, upper, screened, k, power).tolist()
    scores = top(queries.tolist(), passages.tolist(), k)[1]
    assert (np.array(lowest) <= scores[:, -1]).all()
    thresholds = half_queries.thresholds(every, torch.from_numpy(scores[:, -1].astype(np.float64)), power).tolist()
    for q, query in enumerate(queries.tolist()):
        unit = Fraction(2) ** power * Fraction(float(half_queries.scale[q]))
        for p, passage in enumerate(passages.tolist()):
            parts = (Fraction(a) * (Fraction(b) - Fraction(m)) for a, b, m in zip(query, passage, centre.tolist(), strict=True))
            exact = sum(parts) / unit
            assert Fraction(float(upper[q, p])) >= exact
        reached = top(queries[q : q + 1].tolist(), passages.tolist(), k)[0][0]
        assert all(float(upper[q, row]) >= thresholds[q] for row in reached.tolist())


@pytest.mark.parametrize("store_as", ["f32", "f16"])
def test_at_a_size_where_most_passages_are_screened_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_as: StoredPrecision
) -> None:
    rng = np.random.default_rng(1)
    passages = (rng.standard_normal((6000, 48)) + 2).astype(np.float32)
    queries = (rng.standard_normal((20, 48)) + 2).astype(np.float32)
    store = stored(tmp_path, passages, store_as, 2500)
    scored: list[int] = []

    def counting(left: Any, right: Any) -> Any:
        scored.append(len(left))
        return pair_scores(left, right)

    pair_scores = gpu.pair_scores
    monkeypatch.setattr(gpu, "pair_scores", counting)
    require_same(top_k_on(CPU, queries, store, 10, memory=1 << 21), top_k(queries, store, 10))
    assert sum(scored) < 6000 * 20 / 20


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 5), st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(-2, 2)), max_size=12), max_size=6))
def test_passages_are_offered_to_some_lists_and_the_others_stay(k: int, rounds: list[list[tuple[int, int]]]) -> None:
    """Whatever comes in whatever parts, every list is the sorted one of all that it was offered."""
    best, offered, row = Best(7, k, CPU), [[] for _ in range(7)], 0
    for some in rounds:
        places, scores = torch.tensor([p for p, _ in some], dtype=torch.int64), torch.tensor([float(s) for _, s in some])
        best.add(places, torch.arange(row, row + len(some)), scores)
        for at, (place, value) in enumerate(some):
            offered[place].append((-value, row + at))
        row += len(some)
    rows, scores = best.lists()
    for place, every in enumerate(offered):
        wanted = sorted(every)[:k]
        assert rows[place].tolist() == [r for _, r in wanted] + [2**32 - 1] * (k - len(wanted))
        assert scores[place].tolist() == [-v for v, _ in wanted] + [-np.inf] * (k - len(wanted))


def test_memory_of_an_offer_is_that_of_its_lists_alone() -> None:
    """The lists of other queries are neither sorted nor copied, however many there are."""
    largest: list[int] = []
    best = Best(50_000, 20, CPU)

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = function(*args, **(kwargs or {}))
            made = found if isinstance(found, (tuple, list)) else [found]
            largest.append(max((t.numel() for t in made if isinstance(t, torch.Tensor) and t is not best.keys), default=0))
            return found

    with Watching():
        best.add(torch.tensor([3, 3, 49_999]), torch.tensor([5, 6, 7]), torch.tensor([0.5, 1.0, 0.25]))
    assert max(largest) < 200
    assert best.lists()[0][[3, 49_999], 0].tolist() == [6, 7]


def test_equal_passages_survive_together_and_the_first_rows_win(tmp_path: Path) -> None:
    passages = np.tile(np.float32([[0.3, -0.2, 0.9]]), (3000, 1))
    found = top_k_on(CPU, np.float32([[1, 1, 1], [0, 0, 0], [-1, 0, 0]]), stored(tmp_path, passages, shard_rows=999), 4, memory=50_000)
    assert found[0].tolist() == [[0, 1, 2, 3]] * 3


def test_a_passage_that_is_not_finite_is_named(tmp_path: Path) -> None:
    store = stored(tmp_path, np.ones((30, 4), np.float32))
    spoil(store, 10, 2, np.inf)
    with pytest.raises(ScoreError, match="passage row 10 is not finite"):
        top_k_on(CPU, np.ones((3, 4), np.float32), store, 2)


def test_scores_beyond_float32_are_named(tmp_path: Path) -> None:
    passages = np.ones((30, 2), np.float32)
    passages[17] = 3e38
    with pytest.raises(ScoreError, match="query row 1, passage row 17: overflow") as caught:
        top_k_on(CPU, np.float32([[0, 0], [9, 9]]), stored(tmp_path, passages), 3)
    assert "--similarity cosine" in caught.value.hint


def test_more_dimensions_than_the_proof_covers_are_refused(tmp_path: Path) -> None:
    wide = np.ones((1, MOST_DIMENSIONS + 1), np.float32)
    with pytest.raises(UsageError, match="passages of 65537 dimensions") as caught:
        top_k_on(CPU, wide, stored(tmp_path, wide), 1)
    assert "--device cpu" in caught.value.hint


@pytest.mark.parametrize("k", [1, 100, 2000])
@pytest.mark.parametrize("memory", [1, 10_000, 1 << 20, 1 << 33])
def test_sizes_stay_within_the_memory(memory: int, k: int) -> None:
    sizes = sizes_for(memory, 384, k)
    assert min(sizes.queries, sizes.chunk, sizes.tile, sizes.pairs) >= 1
    if memory >= 1 << 20:
        assert sizes.queries * (384 * 8 + 8 * k) <= memory / 4
        assert sizes.chunk * 384 * 24 <= memory / 4
        assert sizes.tile * (sizes.chunk * 16 + 80 * k) <= memory / 4
        assert sizes.pairs * (384 * 8 + 512) <= memory / 4


def test_settings_of_torch_are_as_they_were(tmp_path: Path) -> None:
    before = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    top_k_on(CPU, np.ones((1, 4), np.float32), stored(tmp_path, np.ones((5, 4), np.float32)), 1)
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    passages, queries = (rng.standard_normal((n, 384)).astype(np.float32) + 1 for n in (50_000, 300))
    store = stored(tmp_path, passages, "f32", 20_000)
    require_same(top_k_on(torch.device("cuda"), queries, store, 100), top_k(queries, store, 100))
