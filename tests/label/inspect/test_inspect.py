"""Statistics of labels against the slow loop, what they warn of, and the examples that are chosen."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tiny
from reference import inspect as slow
from umr.data.candidates import Candidates
from umr.data.labels import Labels
from umr.errors import InputError, UsageError
from umr.label.combine import normalise
from umr.label.inspect import agreement, inspect_labels
from umr.label.inspect.agreement import rank_correlations
from umr.label.inspect.examples import examples, first_places, largest_shifts
from umr.label.inspect.statistics import Statistics, macro, statistics, warnings
from umr.manifest import checksums, write_manifest

COUNTS = ("queries", "unscored")
MEANS = [name for name in Statistics.__dataclass_fields__ if name not in COUNTS]
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(0, 4), st.integers(1, 9))


def made(scores: Any, retriever: Any = None, langs: list[str] | None = None, temperature: float = 0.1) -> Labels:
    """Labels of scores; the retriever's order is that of the columns unless given; passages are rows 0 to k of the corpus."""
    scores = np.array(scores, dtype=np.float32)
    q, k = scores.shape
    rows = np.tile(np.arange(k, dtype=np.uint32), (q, 1))
    falling = -np.tile(np.arange(k, dtype=np.float32), (q, 1))
    candidates = Candidates([f"q{i}" for i in range(q)], langs or ["en"] * q, rows, falling if retriever is None else retriever)
    some = np.isfinite(scores).any(axis=1)
    labels = np.full(scores.shape, np.nan, dtype=np.float32)
    labels[some] = normalise(scores[some], temperature)
    return Labels(candidates, scores, labels)


def drawn(seed: int) -> tuple[Labels, dict[int, str]]:
    """Random labels with ties, gaps, queries without any score or with one, in three languages; and passage languages."""
    rng = np.random.default_rng(seed)
    q, k = int(rng.integers(1, 9)), int(rng.integers(1, 8))
    scores = (rng.normal(size=(q, k)) - 3).round(int(rng.integers(0, 3)))
    scores[rng.random((q, k)) < rng.choice([0, 0.5])] = np.nan
    retriever = -np.sort(-rng.random((q, k)).round(int(rng.integers(1, 3))), axis=1).astype(np.float32)
    langs = [str(lang) for lang in rng.choice(["en", "ar", "zh"], q)]
    labels = made(scores, retriever, langs, float(rng.choice([0.01, 0.1, 5])))
    labels.candidates.rows[:] = rng.integers(0, 5, (q, k))
    if rng.random() < 0.5:  # labels of more than the scores
        other = np.where(np.isnan(scores), np.nan, rng.normal(size=(q, k))).astype(np.float32)
        labels = replace(made(other, retriever, langs), candidates=labels.candidates, scores=labels.scores, combined=other)
    return labels, {row: str(rng.choice(["en", "ar", "de"])) for row in range(5)}


def queries(labels: Labels, passage_langs: dict[int, str]) -> list[dict[str, float]]:
    c = labels.candidates
    tables = (labels.scores, labels.labels, c.scores, c.rows)
    return [slow.query(*(t[i].tolist() for t in tables), c.langs[i], passage_langs) for i in range(len(c.langs))]


@given(SEEDS)
def test_statistics_equal_the_loop(seed: int) -> None:
    labels, passage_langs = drawn(seed)
    firsts = first_places(labels)
    seen = {int(labels.candidates.rows[i, c]) for i in range(len(firsts.label)) for c in (firsts.retriever[i], firsts.label[i])}
    passage_langs = {row: lang for row, lang in passage_langs.items() if row in seen}
    found, expected = statistics(labels, passage_langs), queries(labels, passage_langs)
    assert list(found) == sorted({lang for lang, q in zip(labels.candidates.langs, expected, strict=True) if q})
    for lang, row in found.items():
        mine = [i for i, other in enumerate(labels.candidates.langs) if other == lang]
        assert row.queries == sum(bool(expected[i]) for i in mine)
        assert row.unscored == int(np.isnan(labels.scores[mine]).sum())
        for name in MEANS:
            wanted = slow.mean([expected[i] for i in mine], name)
            assert getattr(row, name) == pytest.approx(wanted, rel=1e-5, abs=1e-6, nan_ok=True), name
    for name in MEANS:
        values = [getattr(row, name) for row in found.values() if not math.isnan(getattr(row, name))]
        mean = sum(values) / len(values) if values else math.nan
        assert getattr(macro(found), name) == pytest.approx(mean, nan_ok=True), name
    assert macro(found).queries == sum(map(bool, expected))


WHOLE = st.integers(-3, 3).map(float)


@given(st.data(), SHAPES)
def test_rank_correlations_equal_the_loop_and_scipy(data: Any, shape: tuple[int, int]) -> None:
    a, b = (data.draw(arrays.arrays(np.float32, shape, elements=WHOLE)) for _ in range(2))
    known = data.draw(arrays.arrays(np.bool_, shape))
    tau, rho = rank_correlations(a, b, known)
    for i, here in enumerate(known):
        x, y = a[i][here], b[i][here]
        assert tau[i] == pytest.approx(slow.tau_b(x.tolist(), y.tolist()), abs=1e-12, nan_ok=True)
        assert rho[i] == pytest.approx(slow.spearman(x.tolist(), y.tolist()), abs=1e-12, nan_ok=True)
        if len(set(x)) > 1 and len(set(y)) > 1:
            assert tau[i] == pytest.approx(scipy.stats.kendalltau(x, y).statistic, abs=1e-12)
            assert rho[i] == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    a, b, known = rng.random((7, 6)).astype(np.float32), rng.random((7, 6)).astype(np.float32), rng.random((7, 6)) < 0.8
    whole = rank_correlations(a, b, known)
    monkeypatch.setattr(agreement, "BLOCK", 80)
    np.testing.assert_array_equal(rank_correlations(a, b, known), whole)


def test_values_without_a_meaning_are_left_out() -> None:
    found = statistics(made([[-1, np.nan, np.nan], [np.nan] * 3, [-1, -2, -3]], langs=["en", "en", "de"]))
    assert (found["en"].queries, found["en"].unscored, found["de"].unscored) == (1, 5, 0)
    assert math.isnan(found["en"].tau)
    assert math.isnan(found["en"].saturated)
    assert math.isnan(found["en"].own_label), "no language of a passage is known"
    assert found["de"].tau == pytest.approx(1)
    assert (found["de"].changed, found["de"].place) == (0, 1)
    assert statistics(made([[np.nan, np.nan]])) == {}


def test_countries_and_scripts_of_a_language_count_as_one() -> None:
    found = statistics(made([[-2, -1], [-2, -1]], langs=["zh-Hant", "de"]), {0: "zh", 1: "ZH_cn"})
    assert (found["zh-Hant"].own_retriever, found["zh-Hant"].own_label) == (1, 1)
    assert math.isnan(found["de"].own_label)


def test_equal_scores_leave_the_first_place_to_the_retriever() -> None:
    labels = made([[-2, -2, -2], [-3, -1, -1]])
    assert first_places(labels).label.tolist() == [0, 1]


SHARP, CLEAR = [-1.0, -9.0, -9.0, -9.0], [-1.0, -1.1, -1.2, -1.3]


def test_warnings_say_which_languages_and_what_to_do() -> None:
    langs = ["ar"] * 10 + ["de", "en"]
    scores = [SHARP] * 10 + [CLEAR, [-1.0, -1.0, -1.0, -1.0]]
    found = warnings(statistics(made(scores, langs=langs)), 0.1)
    assert found == [
        "the labels of en are nearly flat: they hardly tell candidates apart; lower --temperature (now 0.1)",
        "the labels of ar have nearly all weight on one passage; raise --temperature (now 0.1)",
        "the labels of en have queries whose candidates all score the same: look for empty passages or queries",
    ]
    hot = warnings(statistics(made([CLEAR], temperature=10)), None)
    assert hot == ["the labels of en are nearly flat: they hardly tell candidates apart; lower --temperature"]
    assert warnings(statistics(made([CLEAR, SHARP])), 0.1) == []
    assert warnings(statistics(made([[-1.0]])), 0.1) == [], "one candidate is neither flat nor sharp"


def test_examples_are_the_largest_shifts_and_equal_ones_stay_in_order() -> None:
    labels = made([[-2, -1], [-3, -1], [-1, -2], [-2, -1], [-4, -1]], langs=["en", "en", "en", "en", "de"], temperature=1)
    firsts = first_places(labels)
    assert largest_shifts(labels, firsts, 9) == {"de": [4], "en": [1, 0, 3]}
    assert largest_shifts(labels, firsts, 2) == {"de": [4], "en": [1, 0]}
    assert largest_shifts(labels, firsts, 0) == {"de": [], "en": []}


def labelled(folder: Path, seed: int = 0) -> Any:
    """A work folder whose round 0 is labelled with random scores."""
    work = tiny.workspace(folder / "work", tiny.tiny_corpus(folder / "data", 9, 10))
    label_round(work, tiny.mined(work, 4), seed)
    return work


def label_round(work: Any, candidates: Candidates, seed: int = 0, number: int = 0) -> Labels:
    scores = (np.random.default_rng(seed).normal(-3, 0.3, candidates.rows.shape)).astype(np.float32)
    labels, place = Labels(candidates, scores, normalise(scores, 0.1)), work.layout.round(number)
    labels.write(place.labels, work.passages)
    write_manifest(place.labelled, "label", {"lm": "b7c1", "temperature": 0.1}, {"files": checksums(place.labels), "lm": "some/lm"})
    return labels


def test_a_round_is_inspected_without_a_language_model(tmp_path: Path) -> None:
    work = labelled(tmp_path)
    talk = tiny.Talk()
    found = inspect_labels(work, reporter=talk)
    assert list(found.per_language) == ["ar", "de", "en", "ru", "zh"]
    assert (found.number, found.lm, found.macro.queries, found.combined) == (0, "some/lm", 10, False)
    assert "state no language: identified from their text" in talk.said[0]
    data = found.data()
    assert data["macro"]["queries"] == 10
    assert set(data["per_language"]["en"]) == {*COUNTS, *MEANS}
    assert all(value is None or value == value for row in data["per_language"].values() for value in row.values())
    assert data == inspect_labels(work, 0).data()


def test_an_example_holds_both_passages_whole(tmp_path: Path) -> None:
    work = labelled(tmp_path)
    labels = inspect_labels(work)
    chosen = [e for found in labels.examples.values() for e in found]
    assert chosen
    for e in chosen:
        assert e.retriever.rank == 1
        assert e.label.rank > 1
        assert e.label.score > e.retriever.score
        assert e.retriever.retriever_score >= e.label.retriever_score
        assert e.shift == pytest.approx(10 * (e.label.score - e.retriever.score), rel=1e-4)
        for place in (e.retriever, e.label):
            row = work.passages.find([place.passage_id]).astype(np.uint32)
            assert work.passages.texts(row) == [(place.title, place.text)]
        row = work.queries.records.find([e.query_id]).astype(np.uint32)
        assert work.queries.records.texts(row)[0][1] == e.query
        assert work.queries.records.langs(row) == [e.lang]
    assert asdict(chosen[0])["label"]["passage_id"] == chosen[0].label.passage_id


def test_examples_of_screened_candidates_start_at_the_first_scored(tmp_path: Path) -> None:
    work = labelled(tmp_path)
    labels = made([[np.nan, -3, -1, np.nan]] + [[-1, np.nan, np.nan, np.nan]] * 9, langs=list(work.queries.langs))
    labels = replace(labels, candidates=replace(labels.candidates, query_ids=work.queries.ids()))
    found = examples(labels, first_places(labels), work.queries, work.passages, 3)
    ((example,),) = [chosen for chosen in found.values() if chosen]
    assert (example.retriever.rank, example.label.rank) == (2, 3)


def test_the_newest_labelled_round_is_taken(tmp_path: Path) -> None:
    work = labelled(tmp_path)
    tiny.mined(work, 4, number=1)
    assert inspect_labels(work).number == 0
    label_round(work, tiny.mined(work, 3, number=1), number=1)
    assert inspect_labels(work).number == 1
    assert inspect_labels(work, 0).number == 0


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    work = tiny.workspace(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 9, 10))
    with pytest.raises(InputError, match="has not been through `umr label`"):
        inspect_labels(work)
    tiny.mined(work, 4)
    with pytest.raises(InputError, match="has not been through `umr label`"):
        inspect_labels(work)
    with pytest.raises(UsageError, match="there is no round 7"):
        inspect_labels(work, 7)
