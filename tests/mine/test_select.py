"""Merging, leaving out and filling up against plain lists."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings

from mine.drawn import SEEDS, Texts, Vectors, full_sort, plain, rankings_of, world
from reference import candidates as slow
from train.rig import Notes
from umr.config import MineConfig
from umr.data.candidates import PADDING
from umr.mine import lists, sources
from umr.mine.duplicates import Duplicates
from umr.mine.per_language import add_languages
from umr.mine.select import Rules, Selection, select
from umr.mine.sources import EncoderSource


@pytest.mark.parametrize("kind", ["off", "exact", "near"])
@pytest.mark.parametrize("several", [False, True])
@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_candidates_equal_the_rules_applied_to_plain_lists(seed: int, kind: Any, several: bool) -> None:
    case = world(seed, kind)
    used: list[Any] = [case.retriever, case.other, case.run] if several else [case.retriever]
    with mock.patch.object(sources, "find", full_sort):
        found = select(case.retriever, used[1:], case.rules, Notes())
    for query, scores in enumerate(case.scores.tolist()):
        own = int(case.rules.source_passages[query])
        rankings = rankings_of(case, used, query)
        floor = slow.least_score(scores, slow.merged(rankings), own, case.rules.min_score, case.rules.margin)
        wanted, passed = slow.choose(rankings, scores, case.rules.k, own, floor, case.rules.first_rank, case.alike)
        assert plain(found.rows)[query] == wanted
        if len(wanted) == case.rules.k:
            assert plain(found.skipped)[query] == passed
        np.testing.assert_array_equal(found.scores[query, : len(wanted)], np.array([scores[p] for p in wanted], dtype=np.float32))
        assert np.isneginf(found.scores[query, len(wanted) :]).all()
        for number, ranking in enumerate(rankings):
            for place, row in enumerate(wanted):
                rank = int(found.ranks[number, query, place])
                assert rank in (0, ranking.index(row) + 1 if row in ranking else 0)
            assert (found.ranks[number, query] > 0).tolist() == (~np.isnan(found.source_scores[number, query])).tolist()
        assert (found.ranks[:, query, : len(wanted)] > 0).any(axis=0).all()


def test_candidates_are_ordered_by_score_then_row() -> None:
    queries: Any = SimpleNamespace(ids=lambda: ["q0"], langs=["en"])
    ranks = np.arange(1, 9, dtype=np.uint32).reshape(2, 1, 4)
    selection = Selection(
        np.uint32([[7, 3, 5, PADDING]]), np.float32([[1, 2, 2, -np.inf]]), np.zeros((1, 0), np.uint32), np.zeros(1, np.float32),
        ranks, ranks.astype(np.float32),
    )  # fmt: skip
    found = selection.candidates(queries, ["encoder", "bm25"])
    assert found.rows.tolist() == [[3, 5, 7, PADDING]]
    assert found.scores.tolist() == [[2, 2, 1, -np.inf]]
    assert found.provenance is not None
    assert found.provenance.ranks.tolist() == [[[2, 3, 1, 4]], [[6, 7, 5, 8]]]
    assert selection.candidates(queries, ["encoder"]).provenance is None


def test_deeper_searches_are_for_the_lists_that_are_not_full() -> None:
    """A floor that no further passage reaches ends the search; a passage that is left out deepens it."""
    depths: list[tuple[int, int]] = []

    def noted(queries: Any, passages: Any, k: int, *rest: Any) -> Any:
        depths.append((len(queries), k))
        return full_sort(queries, passages, k, *rest)

    table = np.arange(20, 0, -1, dtype=np.float32)[:, None]
    retriever = EncoderSource("encoder", {}, np.ones((2, 1), dtype=np.float32), Vectors(table), MineConfig(), Notes())  # type: ignore[arg-type]
    texts = ["the same words"] * 10 + [f"{word} other text" for word in "abcdefghij"]
    with mock.patch.object(sources, "find", noted):
        found = select(retriever, [], Rules(4, np.full(2, -1), Duplicates(Texts(texts), "exact")), notes := Notes())  # type: ignore[arg-type]
        assert depths == [(2, 5), (2, 10), (2, 20)]
        assert "2 lists are not full: searching 20 passages deep" in notes.text
        assert found.rows.tolist() == [[0, 10, 11, 12]] * 2
        assert found.counts["repeated"] == 18
        depths.clear()
        low = select(retriever, [], Rules(4, np.full(2, -1), Duplicates(Texts(texts), "off"), min_score=18.5), Notes())  # type: ignore[arg-type]
        assert depths == [(2, 4)]
        assert plain(low.rows) == [[0, 1]] * 2


def test_the_order_of_the_work_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = world(11, "exact")
    used: list[Any] = [case.retriever, case.run]
    with mock.patch.object(sources, "find", full_sort):
        whole = select(case.retriever, used[1:], case.rules, Notes())
        add_languages(whole, case.languages, 1, case.retriever, case.rules, Notes())
        monkeypatch.setattr(lists, "BLOCK_PLACES", 1)
        monkeypatch.setattr(sources, "BLOCK_PAIRS", 1)
        parts = select(case.retriever, used[1:], case.rules, Notes())
        add_languages(parts, case.languages, 1, case.retriever, case.rules, Notes())
    for name in ("rows", "scores", "skipped", "ranks", "source_scores"):
        assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes()
    assert whole.counts == parts.counts
