"""Packing: every pair once, within the budget, and a mask under which each branch stands alone behind its trunk."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import packing as slow
from umr.errors import UsageError
from umr.label.scorers.attention import cut
from umr.label.scorers.pack import Branch, Tree, ancestors, fill, grow, pack, split, visible

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


@given(passages())
def test_every_beginning_is_computed_once_and_no_last_token_at_all(work: list[list[Pair]]) -> None:
    trees, _ = grown(work)
    packed, expected = pack(trees), slow.beginnings(trees)
    found = []
    for place in range(len(packed.ids)):
        path = [place]
        while packed.parent[path[0]] >= 0:
            path.insert(0, int(packed.parent[path[0]]))
        assert path == sorted(path)
        number = next(n for n, (start, _, end) in enumerate(packed.trees) if start <= place < end)
        found.append((number, tuple(packed.ids[path].tolist())))
        assert packed.positions[place] == len(path) - 1
    assert found == expected
    assert [end - start for start, end, _ in packed.trees] == [len(tree.trunk) for tree in trees]


@given(passages(), WINDOWS)
def test_a_token_sees_its_own_passage_and_pair_alone(work: list[list[Pair]], window: int | None) -> None:
    trees, _ = grown(work)
    packed = pack(trees)
    assert visible(packed, window).tolist() == slow.sees(trees, window)
    for start, _, end in packed.trees.tolist():
        assert (ancestors(packed, start, end, window) == visible(packed, window)[start:end, start:end]).all()


@given(passages(), st.integers(1, 6), WINDOWS)
def test_blocks_hold_the_whole_mask(work: list[list[Pair]], queries: int, window: int | None) -> None:
    packed = pack(grown(work)[0])
    found = np.zeros((len(packed.ids), len(packed.ids)), dtype=bool)
    place = 0
    for start, end, keys, seen in cut(packed, queries, window):
        assert place == start < end <= start + queries
        place = end
        assert len(keys) in (1, 2)
        columns = np.concatenate([np.arange(a, b) for a, b in keys])
        assert (np.diff(columns) > 0).all()
        found[start:end, columns] = seen
    assert place == len(packed.ids)
    assert (found == visible(packed, window)).all()


@given(passages())
def test_each_target_token_is_predicted_once_from_the_token_before_it(work: list[list[Pair]]) -> None:
    trees, by_number = grown(work)
    packed = pack(trees)
    numbers = list(by_number)
    assert packed.branches == len(numbers)
    assert (np.diff(packed.predict) > 0).all()
    found: dict[int, list[int]] = {number: [] for number in by_number}
    seen = visible(packed)
    for row, token, owner in zip(packed.rows, packed.targets, packed.owner, strict=True):
        source, target = by_number[numbers[owner]]
        path = np.flatnonzero(seen[packed.predict[row]])
        done = found[numbers[owner]]
        assert packed.ids[path].tolist() == source + target[: len(done)]  # what the prediction stands on
        done.append(int(token))
    assert found == {number: target for number, (_, target) in by_number.items()}


def test_questions_of_one_language_share_the_state_that_predicts_their_first_token() -> None:
    tree = Tree([1, 2], [Branch(0, [7, 8, 9], 2), Branch(1, [7, 5], 1), Branch(2, [4], 1)])
    packed = pack([tree])
    assert packed.ids.tolist() == [1, 2, 7, 8]
    assert packed.predict[packed.rows].tolist() == [2, 3, 2, 1]
    assert packed.targets.tolist() == [8, 9, 5, 4]
