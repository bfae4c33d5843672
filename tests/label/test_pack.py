"""Packing: every pair once, within the budget, and a mask under which each branch stands alone behind its trunk."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from umr.label.pack import Pack, Tree, fill, grow, pack, split, visible

Pair = tuple[list[int], list[int]]  # source and target ids

TOKENS = st.integers(0, 3)  # few ids, so that beginnings coincide by chance too


@st.composite
def passages(draw: st.DrawFn) -> list[list[Pair]]:
    """For each passage its pairs, whose sources begin alike (or not)."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        stem = draw(st.lists(TOKENS, max_size=8))
        tails = draw(
            st.lists(st.tuples(st.lists(TOKENS, min_size=1, max_size=4), st.lists(TOKENS, min_size=1, max_size=4)), min_size=1, max_size=5)
        )
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
def test_a_trunk_is_the_longest_beginning_that_leaves_every_source_a_token(work: list[list[Pair]]) -> None:
    trees, by_number = grown(work)
    for tree, pairs in zip(trees, work, strict=True):
        shortest = min(len(s) for s, _ in pairs)
        common = next((n for n in range(shortest) if len({s[n] for s, _ in pairs}) > 1), shortest)
        assert len(tree.trunk) == min(common, shortest - 1)
        for branch in tree.branches:
            source, target = by_number[branch.pair]
            assert tree.trunk + branch.ids == source + target
            assert branch.targets == len(target)


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


def paths(row: list[Tree]) -> list[list[int]]:
    """For every token of a row, slowly: the places of the tokens before it in its own (passage, pair), itself last."""
    places: list[list[int]] = []
    for tree in row:
        trunk: list[int] = []
        for _ in tree.trunk:
            trunk = [*trunk, len(places)]
            places.append(trunk)
        for branch in tree.branches:
            path = trunk
            for _ in branch.ids:
                path = [*path, len(places)]
                places.append(path)
    return places


@given(passages(), st.none() | st.integers(1, 9))
def test_a_token_sees_its_own_passage_and_pair_alone(work: list[list[Pair]], window: int | None) -> None:
    trees, _ = grown(work)
    packed = pack(trees)
    expected = np.zeros((len(packed.ids), len(packed.ids)), dtype=bool)
    for place, path in enumerate(paths(trees)):
        expected[place, path[-window:] if window else path] = True
        assert packed.positions[place] == len(path) - 1
    assert (visible(packed, window) == expected).all()


@given(passages())
def test_each_target_token_is_predicted_once_from_the_token_before_it(work: list[list[Pair]]) -> None:
    trees, by_number = grown(work)
    packed: Pack = pack(trees)
    assert packed.pairs == list(by_number)
    found: dict[int, list[int]] = {number: [] for number in by_number}
    seen = visible(packed)
    for place, token, owner in zip(packed.predict, packed.targets, packed.owner, strict=True):
        source, target = by_number[packed.pairs[owner]]
        path = np.flatnonzero(seen[place])
        done = found[packed.pairs[owner]]
        assert packed.ids[path].tolist() == source + target[: len(done)]  # what the prediction stands on
        done.append(int(token))
    assert found == {number: target for number, (_, target) in by_number.items()}
