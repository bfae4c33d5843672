"""Candidates of every language against plain lists."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mine.drawn import SEEDS, Texts, World, full_sort, plain, rankings_of, small, world
from reference import candidates as slow
from train.rig import Notes
from umr.data.corpus_langs import Languages
from umr.errors import InputError
from umr.mine import per_language, sources
from umr.mine.duplicates import Duplicates
from umr.mine.per_language import add_languages, eligible_languages, require_room
from umr.mine.select import Rules, Selection, select
from umr.mine.sources import RunSource


@pytest.mark.parametrize("kind", ["off", "exact", "near"])
@given(seed=SEEDS, least=st.integers(1, 3), share=st.sampled_from([1000, 4, 2]))
@settings(max_examples=60, deadline=None)
def test_every_language_gets_its_candidates(seed: int, least: int, share: int, kind: Any) -> None:
    case = world(seed, kind)
    with mock.patch.object(per_language, "PASSAGES_PER_RARE", share):
        some_of_every_language(case, least, rare_of(case.languages, share))


def rare_of(languages: Languages, share: int) -> list[int]:
    """The languages that were identified alone and are fewer than one in `share`."""
    counts, passages = languages.counts(), len(languages.numbers)
    told = languages.stated
    return [place for place, code in enumerate(languages.codes) if code not in told and counts[code] * share < passages]


def some_of_every_language(case: World, least: int, rare: list[int]) -> None:
    need = sum(min(least, count) for code, count in case.languages.counts().items() if case.languages.codes.index(code) not in rare)
    if need > case.rules.k:
        with pytest.raises(InputError, match=f"are {need}, but top-k is {case.rules.k}") as caught:
            require_room(case.languages, case.rules.k, least, Notes())
        assert f"--top-k {need} or more" in caught.value.hint
        return
    require_room(case.languages, case.rules.k, least, Notes())
    with mock.patch.object(sources, "find", full_sort):
        found = select(case.retriever, [case.run], case.rules, Notes())
        before, passed = plain(found.rows), plain(found.skipped)
        total = add_languages(found, case.languages, least, case.retriever, case.rules, Notes())
    langs = case.languages.numbers.tolist()
    added = 0
    for query, scores in enumerate(case.scores.tolist()):
        own = int(case.rules.source_passages[query])
        rankings = rankings_of(case, [case.retriever, case.run], query)
        floor = slow.least_score(scores, slow.merged(rankings), own, case.rules.min_score, case.rules.margin)
        wanted = slow.spread(before[query], passed[query], scores, langs, least, case.rules.k, own, floor, case.alike, rare)
        assert plain(found.rows)[query] == wanted
        np.testing.assert_array_equal(found.scores[query, : len(wanted)], np.array([scores[p] for p in wanted], dtype=np.float32))
        new = [row not in before[query] for row in wanted]
        assert (found.ranks[2, query] > 0).tolist() == new + [False] * (case.rules.k - len(wanted))
        added += sum(new)
        for number, ranking in enumerate(rankings):
            deep = max(searched_depths(found, query))
            ranks = [ranking[:deep].index(row) + 1 if row in ranking[:deep] else 0 for row in wanted]
            assert found.ranks[number, query, : len(wanted)].tolist() == ranks
        assert ((found.ranks[:, query] > 0) == ~np.isnan(found.source_scores[:, query])).all()
        if not case.scored_rules and case.rules.duplicates.kind == "off" and case.rules.first_rank == 1 and own < 0:
            for lang, count in enumerate(np.bincount(langs)):
                assert lang in rare or sum(langs[row] == lang for row in wanted) >= min(least, count)
    assert total == added


def searched_depths(found: Selection, query: int) -> list[int]:
    return [of[0].rows.shape[1] for queries, of in found.searched if query in queries]


@pytest.mark.parametrize(("told", "expected"), [(frozenset(), [0, 1, 4, 5]), (frozenset({"qa"}), [0, 1, 3, 4])])
def test_a_language_that_does_not_count_makes_room(monkeypatch: pytest.MonkeyPatch, told: frozenset[str], expected: list[int]) -> None:
    monkeypatch.setattr(per_language, "PASSAGES_PER_RARE", 4)
    retriever, languages = small([9, 8, 7, 6, 2, 1], [1, 1, 1, 2, 0, 0], ("de", "en", "qa"), told)
    least = 2 if not told else 1
    rules = Rules(4, np.full(1, -1), Duplicates(Texts([""] * 6), "off"))  # type: ignore[arg-type]
    with mock.patch.object(sources, "find", full_sort):
        found = select(retriever, [], rules, Notes())
        assert plain(found.rows) == [[0, 1, 2, 3]]
        total = add_languages(found, languages, least, retriever, rules, Notes())
    assert plain(found.rows) == [expected]
    assert total == int((found.ranks[1] > 0).sum()) == sum(row > 3 for row in expected)


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_what_repeats_a_passage_that_was_passed_over_does_not_come_back(kind: Any) -> None:
    retriever, languages = small([9, 8, 7, 3, 2], [0, 0, 0, 1, 1], ("en", "de"))
    texts = ["the stone bridge", "another old song", "a mountain", "The stone  bridge", "eine alte Stadt"]
    rules = Rules(2, np.full(1, -1), Duplicates(Texts(texts), kind), first_rank=2)  # type: ignore[arg-type]
    with mock.patch.object(sources, "find", full_sort):
        found = select(retriever, [], rules, Notes())
        assert (plain(found.skipped), plain(found.rows)) == ([[0]], [[1, 2]])
        add_languages(found, languages, 1, retriever, rules, Notes())
    assert plain(found.rows) == [[1, 4]]


def test_other_sources_are_noted_for_what_a_language_added() -> None:
    retriever, languages = small([9, 8, 7, 2, 1], [0, 0, 0, 1, 1], ("en", "de"))
    run = RunSource("run1", {}, np.array([[0, 1, 3]], dtype=np.uint32), np.array([[5, 4, 3]], dtype=np.float32))
    rules = Rules(2, np.full(1, -1), Duplicates(Texts([""] * 5), "off"))  # type: ignore[arg-type]
    with mock.patch.object(sources, "find", full_sort), mock.patch.object(Rules, "depth", 3):
        found = select(retriever, [run], rules, Notes())
        add_languages(found, languages, 1, retriever, rules, Notes())
    assert plain(found.rows) == [[0, 3]]
    assert found.ranks[:, 0].tolist() == [[1, 0], [1, 3], [0, 1]]
    np.testing.assert_array_equal(found.source_scores[:, 0], np.array([[9, np.nan], [5, 3], [np.nan, 2]], dtype=np.float32))


def test_languages_of_rare_languages_do_not_count() -> None:
    numbers = np.array([0] * 1500 + [1] * 1 + [2] * 2, dtype=np.int32)
    languages, notes = Languages(("en", "qa", "de"), numbers, "", frozenset()), Notes()
    assert eligible_languages(languages) == [0, 2]
    require_room(languages, 10, 5, notes)
    assert "no candidates are asked from 1 identified languages of fewer than 0.1 % of the passages each (1 in all)" in notes.text
    said = Languages(("en", "qa", "de"), numbers, "", frozenset({"qa"}))
    assert eligible_languages(said) == [0, 1, 2]
    require_room(said, 10, 5, notes := Notes())
    assert not notes.said
