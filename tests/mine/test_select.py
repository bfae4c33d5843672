"""Merging, leaving out and filling up against plain lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference import candidates as slow
from train.rig import Notes
from umr.config import MineConfig
from umr.data.candidates import PADDING
from umr.data.corpus_langs import Languages
from umr.data.trec import TrecRun
from umr.errors import InputError
from umr.mine import lists, per_language, sources
from umr.mine.duplicates import Duplicates
from umr.mine.lists import interleave, places_of
from umr.mine.per_language import add_languages, require_room, spoken
from umr.mine.select import Chosen, Rules, choose, ordered
from umr.mine.sources import EncoderSource, RunSource

SEEDS = st.integers(0, 2**32 - 1)


@dataclass
class Vectors:
    """Stands for embeddings: rows and vectors."""

    table: NDArray[np.float32]

    @property
    def rows(self) -> int:
        return len(self.table)

    def read(self, rows: NDArray[np.uint32]) -> NDArray[np.float32]:
        return self.table[rows]


def full_sort(queries: Any, passages: Any, k: int, config: Any, reporter: Any, only: Any = None) -> Any:
    """Stands for the search."""
    return slow.full_sort(queries, passages.table, k, only)


class Texts:
    """Stands for passages: texts alone."""

    def __init__(self, texts: list[str]) -> None:
        self.all = texts

    def __len__(self) -> int:
        return len(self.all)

    def texts(self, rows: Any) -> list[tuple[str, str]]:
        return [("", self.all[row]) for row in rows]


@dataclass
class World:
    """A drawn problem."""

    retriever: EncoderSource
    other: EncoderSource
    run: RunSource
    rules: Rules
    languages: Languages
    texts: list[str]

    @property
    def scores(self) -> NDArray[np.float32]:
        table: Any = self.retriever.passages
        return (self.retriever.queries.astype(np.float64) @ table.table.T.astype(np.float64)).astype(np.float32)

    def alike(self, a: int, b: int) -> bool:
        kind = self.rules.duplicates.kind
        if kind == "off":
            return False
        return self.texts[a] == self.texts[b] if kind == "exact" else slow.jaccard(self.texts[a], self.texts[b]) >= 0.8


def world(seed: int, kind: Any) -> World:
    rng = np.random.default_rng(seed)
    n, q, k = int(rng.integers(4, 30)), int(rng.integers(1, 5)), int(rng.integers(1, 8))
    k = min(k, n)

    def vectors(count: int) -> NDArray[np.float32]:
        return rng.integers(-3, 4, (count, 3)).astype(np.float32)  # many ties

    def encoder(name: str) -> EncoderSource:
        return EncoderSource(name, vectors(q), Vectors(vectors(n)), MineConfig(), Notes())  # type: ignore[arg-type]

    width = int(rng.integers(1, n + 1))
    rows = np.stack([rng.permutation(n)[:width] for _ in range(q)]).astype(np.uint32)
    rows[np.arange(width) >= rng.integers(0, width + 1, q)[:, None]] = PADDING
    run = TrecRun(rows, np.where(rows == PADDING, -np.inf, -np.arange(width)).astype(np.float32), {})
    words = ["stone bridge over water", "stone bridges over water", "a song of winter", "the north mountain is old and high"]
    texts = [str(rng.choice(words)) + (" " + str(rng.integers(0, 3)) if rng.random() < 0.5 else "") for _ in range(n)]
    rules = Rules(
        k, np.where(rng.random(q) < 0.5, rng.integers(0, n, q), -1), Duplicates(Texts(texts), kind),  # type: ignore[arg-type]
        min_score=float(rng.choice([-np.inf, -2, 0, 100])), margin=float(rng.choice([np.inf, 3, 0])), first_rank=int(rng.integers(1, 4)),
    )  # fmt: skip
    numbers = np.sort(rng.integers(0, int(rng.integers(1, 4)), n)).astype(np.int32)
    codes, numbers = np.unique(rng.permutation(numbers), return_inverse=True)
    told = frozenset(f"l{code}" for code in codes if rng.random() < 0.5)
    languages = Languages(tuple(f"l{code}" for code in codes), numbers.astype(np.int32), "", told)
    return World(encoder("encoder"), encoder("encoder2"), RunSource("run1", run), rules, languages, texts)


def plain(values: NDArray[np.uint32]) -> list[list[int]]:
    return [[int(row) for row in line if row != PADDING] for line in values]


def rankings_of(case: World, used: list[Any], query: int) -> list[list[int]]:
    n = case.retriever.passages.rows
    with mock.patch.object(sources, "find", full_sort):
        return [plain(source.find(np.array([query]), n).rows)[0] for source in used]


@pytest.mark.parametrize("kind", ["off", "exact", "near"])
@pytest.mark.parametrize("several", [False, True])
@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_candidates_equal_the_rules_applied_to_plain_lists(seed: int, kind: Any, several: bool) -> None:
    case = world(seed, kind)
    used: list[Any] = [case.retriever, case.other, case.run] if several else [case.retriever]
    with mock.patch.object(sources, "find", full_sort):
        found = choose(used, case.retriever, case.rules, Notes())
    for query, scores in enumerate(case.scores.tolist()):
        own = int(case.rules.own[query])
        rankings = rankings_of(case, used, query)
        floor = slow.least_score(scores, slow.merged(rankings), own, case.rules.min_score, case.rules.margin)
        wanted, passed = slow.choose(rankings, scores, case.rules.k, own, floor, case.rules.first_rank, case.alike)
        assert plain(found.rows)[query] == wanted
        if len(wanted) == case.rules.k:
            assert plain(found.passed)[query] == passed
        np.testing.assert_array_equal(found.scores[query, : len(wanted)], np.array([scores[p] for p in wanted], dtype=np.float32))
        assert np.isneginf(found.scores[query, len(wanted) :]).all()
        for number, ranking in enumerate(rankings):
            for place, row in enumerate(wanted):
                rank = int(found.ranks[number, query, place])
                assert rank in (0, ranking.index(row) + 1 if row in ranking else 0)
            assert (found.ranks[number, query] > 0).tolist() == (~np.isnan(found.found[number, query])).tolist()
        assert (found.ranks[:, query, : len(wanted)] > 0).any(axis=0).all()


@pytest.mark.parametrize("kind", ["off", "exact", "near"])
@given(seed=SEEDS, least=st.integers(1, 3), share=st.sampled_from([1000, 4, 2]))
@settings(max_examples=60, deadline=None)
def test_every_language_gets_its_candidates(seed: int, least: int, share: int, kind: Any) -> None:
    case = world(seed, kind)
    with mock.patch.object(per_language, "SHARE", share):
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
        found = choose([case.retriever, case.run], case.retriever, case.rules, Notes())
        before, passed = plain(found.rows), plain(found.passed)
        total = add_languages(found, case.languages, least, case.retriever, case.rules, Notes())
    langs = case.languages.numbers.tolist()
    added = 0
    for query, scores in enumerate(case.scores.tolist()):
        own = int(case.rules.own[query])
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
        assert ((found.ranks[:, query] > 0) == ~np.isnan(found.found[:, query])).all()
        if not case.rules.floors and case.rules.duplicates.kind == "off" and case.rules.first_rank == 1 and own < 0:
            for lang, count in enumerate(np.bincount(langs)):
                assert lang in rare or sum(langs[row] == lang for row in wanted) >= min(least, count)
    assert total == added


def searched_depths(found: Chosen, query: int) -> list[int]:
    return [of[0].rows.shape[1] for queries, of in found.searched if query in queries]


def small(scores: list[float], numbers: list[int], codes: tuple[str, ...], told: frozenset[str] = frozenset()) -> tuple[Any, Languages]:
    """One question of the vector 1, passages of one dimension."""
    table = np.array(scores, dtype=np.float32)[:, None]
    retriever = EncoderSource("encoder", np.ones((1, 1), dtype=np.float32), Vectors(table), MineConfig(), Notes())  # type: ignore[arg-type]
    return retriever, Languages(codes, np.array(numbers, dtype=np.int32), "", told)


@pytest.mark.parametrize(("told", "expected"), [(frozenset(), [0, 1, 4, 5]), (frozenset({"qa"}), [0, 1, 3, 4])])
def test_a_language_that_does_not_count_makes_room(monkeypatch: pytest.MonkeyPatch, told: frozenset[str], expected: list[int]) -> None:
    monkeypatch.setattr(per_language, "SHARE", 4)
    retriever, languages = small([9, 8, 7, 6, 2, 1], [1, 1, 1, 2, 0, 0], ("de", "en", "qa"), told)
    least = 2 if not told else 1
    rules = Rules(4, np.full(1, -1), Duplicates(Texts([""] * 6), "off"))  # type: ignore[arg-type]
    with mock.patch.object(sources, "find", full_sort):
        found = choose([retriever], retriever, rules, Notes())
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
        found = choose([retriever], retriever, rules, Notes())
        assert (plain(found.passed), plain(found.rows)) == ([[0]], [[1, 2]])
        add_languages(found, languages, 1, retriever, rules, Notes())
    assert plain(found.rows) == [[1, 4]]


def test_other_sources_are_noted_for_what_a_language_added() -> None:
    retriever, languages = small([9, 8, 7, 2, 1], [0, 0, 0, 1, 1], ("en", "de"))
    run = RunSource("run1", TrecRun(np.array([[0, 1, 3]], dtype=np.uint32), np.array([[5, 4, 3]], dtype=np.float32), {}))
    rules = Rules(2, np.full(1, -1), Duplicates(Texts([""] * 5), "off"))  # type: ignore[arg-type]
    with mock.patch.object(sources, "find", full_sort), mock.patch.object(Rules, "depth", 3):
        found = choose([retriever, run], retriever, rules, Notes())
        add_languages(found, languages, 1, retriever, rules, Notes())
    assert plain(found.rows) == [[0, 3]]
    assert found.ranks[:, 0].tolist() == [[1, 0], [1, 3], [0, 1]]
    np.testing.assert_array_equal(found.found[:, 0], np.array([[9, np.nan], [5, 3], [np.nan, 2]], dtype=np.float32))


def test_languages_of_hardly_any_passage_do_not_count() -> None:
    numbers = np.array([0] * 1500 + [1] * 1 + [2] * 2, dtype=np.int32)
    languages, notes = Languages(("en", "qa", "de"), numbers, "", frozenset()), Notes()
    assert spoken(languages) == [0, 2]
    require_room(languages, 10, 5, notes)
    assert "no candidates are asked from 1 identified languages of fewer than 0.1 % of the passages each (1 in all)" in notes.text
    said = Languages(("en", "qa", "de"), numbers, "", frozenset({"qa"}))
    assert spoken(said) == [0, 1, 2]
    require_room(said, 10, 5, notes := Notes())
    assert not notes.said


def chosen(rows: list[list[int]], scores: list[list[float]], sources: int) -> Chosen:
    table = np.array(rows, dtype=np.uint32)
    shape = (sources, *table.shape)
    nothing = np.zeros((len(table), 0), dtype=np.uint32)
    ranks = np.arange(1, table.size * sources + 1, dtype=np.uint32).reshape(shape)
    return Chosen(
        table, np.array(scores, dtype=np.float32), nothing, np.zeros(len(table), dtype=np.float32), ranks, ranks.astype(np.float32)
    )


def test_candidates_are_ordered_by_score_then_row() -> None:
    rows, scores, provenance = ordered(chosen([[7, 3, 5, PADDING]], [[1, 2, 2, -np.inf]], 2), ["encoder", "bm25"])
    assert rows.tolist() == [[3, 5, 7, PADDING]]
    assert scores.tolist() == [[2, 2, 1, -np.inf]]
    assert provenance is not None
    assert provenance.ranks.tolist() == [[[2, 3, 1, 4]], [[6, 7, 5, 8]]]
    assert ordered(chosen([[7]], [[1]], 1), ["encoder"])[2] is None


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


def test_deeper_searches_are_for_the_lists_that_are_not_full() -> None:
    """A floor that no further passage reaches ends the search; a passage that is left out deepens it."""
    depths: list[tuple[int, int]] = []

    def noted(queries: Any, passages: Any, k: int, *rest: Any) -> Any:
        depths.append((len(queries), k))
        return full_sort(queries, passages, k, *rest)

    table = np.arange(20, 0, -1, dtype=np.float32)[:, None]
    retriever = EncoderSource("encoder", np.ones((2, 1), dtype=np.float32), Vectors(table), MineConfig(), Notes())  # type: ignore[arg-type]
    texts = ["the same words"] * 10 + [f"{word} other text" for word in "abcdefghij"]
    with mock.patch.object(sources, "find", noted):
        found = choose([retriever], retriever, Rules(4, np.full(2, -1), Duplicates(Texts(texts), "exact")), notes := Notes())  # type: ignore[arg-type]
        assert depths == [(2, 5), (2, 10), (2, 20)]
        assert "2 lists are not full: searching 20 passages deep" in notes.text
        assert found.rows.tolist() == [[0, 10, 11, 12]] * 2
        assert found.counts["repeated"] == 18
        depths.clear()
        low = choose([retriever], retriever, Rules(4, np.full(2, -1), Duplicates(Texts(texts), "off"), min_score=18.5), Notes())  # type: ignore[arg-type]
        assert depths == [(2, 4)]
        assert plain(low.rows) == [[0, 1]] * 2


def test_the_order_of_the_work_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = world(11, "exact")
    used: list[Any] = [case.retriever, case.run]
    with mock.patch.object(sources, "find", full_sort):
        whole = choose(used, case.retriever, case.rules, Notes())
        add_languages(whole, case.languages, 1, case.retriever, case.rules, Notes())
        monkeypatch.setattr(lists, "CELLS", 1)
        monkeypatch.setattr(sources, "PAIRS", 1)
        parts = choose(used, case.retriever, case.rules, Notes())
        add_languages(parts, case.languages, 1, case.retriever, case.rules, Notes())
    for name in ("rows", "scores", "passed", "ranks", "found"):
        assert getattr(whole, name).tobytes() == getattr(parts, name).tobytes()
    assert whole.counts == parts.counts
