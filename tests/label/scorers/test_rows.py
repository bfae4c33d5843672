"""Trees and rows: every pair once, within the budget, and a mask under which each branch stands alone behind its trunk."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference import rows as slow
from umr.errors import UsageError
from umr.label.scorers.rows import Rows, lay_out
from umr.label.scorers.trees import Branch, Tree, fill, grow, split

Pair = tuple[list[int], list[int]]  # source and target ids

TOKENS = st.integers(0, 3)  # few ids, so that beginnings coincide by chance too
WINDOWS = st.none() | st.integers(1, 9)


@st.composite
def passages(draw: st.DrawFn) -> list[list[Pair]]:
    """For each passage its pairs, whose sources begin alike (or not), or are all the same."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        stem = draw(st.lists(TOKENS, min_size=1, max_size=8))
        heads = st.just([]) if draw(st.booleans()) else st.lists(TOKENS, max_size=4)
        tails = draw(st.lists(st.tuples(heads, st.lists(TOKENS, min_size=1, max_size=4)), min_size=1, max_size=5))
        made.append([(stem + head, target) for head, target in tails])
    return made


def grown(work: list[list[Pair]]) -> tuple[list[Tree], dict[int, Pair]]:
    trees, by_number = [], {}
    for pairs in work:
        numbers = range(10 + len(by_number), 10 + len(by_number) + len(pairs))
        trees.append(grow([s for s, _ in pairs], [t for _, t in pairs], list(numbers)))
        by_number |= dict(zip(numbers, pairs, strict=True))
    return trees, by_number


@given(passages())
def test_a_trunk_is_the_longest_common_beginning(work: list[list[Pair]]) -> None:
    trees, by_number = grown(work)
    for tree, pairs in zip(trees, work, strict=True):
        shortest = min(len(s) for s, _ in pairs)
        common = next((n for n in range(shortest) if len({s[n] for s, _ in pairs}) > 1), shortest)
        assert len(tree.trunk) == common
        for branch in tree.branches:
            source, target = by_number[branch.pair]
            assert tree.trunk + branch.ids == source + target
            assert branch.targets == len(target)


def test_a_source_without_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="no tokens") as caught:
        grow([[1], []], [[2], [3]], [0, 1])
    assert caught.value.hint


@given(passages(), st.integers(1, 60))
def test_every_pair_comes_once_in_order_within_the_budget(work: list[list[Pair]], budget: int) -> None:
    trees, by_number = grown(work)
    rows = list(fill(trees, budget))
    assert [b.pair for row in rows for tree in row for b in tree.branches] == list(by_number)
    for row in rows:
        assert row
        alone = len(row) == 1 and len(row[0].branches) == 1
        assert alone or sum(tree.tokens for tree in row) <= budget
    for before, after in pairwise(rows):
        assert sum(tree.tokens for tree in before) + after[0].tokens > budget  # nothing that fitted was put off


@given(passages(), st.integers(1, 60))
def test_a_split_tree_repeats_its_trunk(work: list[list[Pair]], budget: int) -> None:
    for tree in grown(work)[0]:
        parts = list(split(tree, budget))
        assert all(part.trunk == tree.trunk and part.branches for part in parts)
        assert [b for part in parts for b in part.branches] == tree.branches
        if tree.tokens <= budget:
            assert len(parts) == 1


def visible(rows: Rows, row: int, window: int | None = None) -> NDArray[np.bool_]:
    """[W, W] whether a place of a row sees another."""
    place = np.arange(rows.ids.shape[1])
    seen: NDArray[np.bool_] = (place <= place[:, None]) & (place[:, None] < rows.ends[row])
    return seen & (rows.positions[row][:, None] - rows.positions[row] < window) if window else seen


def texts_of(rows: Rows, row: int) -> list[tuple[int, ...]]:
    """What each place of a row stands on: the ids that it sees, its own last."""
    return [tuple(rows.ids[row, seen].tolist()) for seen in visible(rows, row)]


@given(passages(), st.integers(1, 7))
def test_every_beginning_is_computed_once_and_no_last_token_at_all(work: list[list[Pair]], multiple: int) -> None:
    trees, _ = grown(work)
    rows = lay_out(trees, multiple)
    sizes = [len(slow.beginnings(tree)) for tree in trees]
    assert rows.ids.shape == rows.positions.shape == rows.ends.shape
    assert len(rows.ids) == len(trees)
    assert rows.ids.shape[1] % multiple == 0
    assert 0 <= rows.ids.shape[1] - max(sizes) < multiple
    for row, (tree, size) in enumerate(zip(trees, sizes, strict=True)):
        texts = texts_of(rows, row)
        assert len(set(texts[:size])) == size
        assert set(texts[:size]) == slow.beginnings(tree)
        assert rows.positions[row, :size].tolist() == [len(text) - 1 for text in texts[:size]]


@given(passages(), WINDOWS)
def test_a_token_sees_its_own_passage_and_pair_alone(work: list[list[Pair]], window: int | None) -> None:
    trees, _ = grown(work)
    rows = lay_out(trees)
    for row, tree in enumerate(trees):
        texts, size = texts_of(rows, row), len(slow.beginnings(tree))
        seen = visible(rows, row, window)
        assert seen[:size, :size].tolist() == [[slow.sees(a, b, window) for b in texts[:size]] for a in texts[:size]]
        assert (seen[size:] == np.eye(len(seen), dtype=bool)[size:]).all()  # padding sees itself
        assert not seen[:size, size:].any()


@given(passages())
def test_each_target_token_is_predicted_once_from_the_token_before_it(work: list[list[Pair]]) -> None:
    trees, by_number = grown(work)
    rows = lay_out(trees)
    texts = [text for row in range(len(trees)) for text in texts_of(rows, row)]
    assert (np.diff(rows.predict) > 0).all()
    assert rows.counts.tolist() == [len(target) for _, target in by_number.values()]
    assert rows.targets.tolist() == [token for _, target in by_number.values() for token in target]
    wanted = [(*source, *target[:n]) for source, target in by_number.values() for n in range(len(target))]
    assert [texts[place] for place in rows.predict[rows.state_of]] == wanted


def test_queries_of_one_language_share_the_state_that_predicts_their_first_token() -> None:
    rows = lay_out([Tree([1, 2], [Branch(0, [7, 8, 9], 2), Branch(1, [7, 5], 1), Branch(2, [4], 1)])])
    assert rows.ids.tolist() == [[1, 2, 7, 8]]
    assert rows.predict[rows.state_of].tolist() == [2, 3, 2, 1]
    assert rows.targets.tolist() == [8, 9, 5, 4]
