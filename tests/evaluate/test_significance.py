"""The bootstrap: determinism, closed forms, scipy's own interval, strata, and differences that are all equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, permutation_test

from umr.errors import MismatchError, UsageError
from umr.evaluate import Evaluation, compare

Array = NDArray[np.float64]

Pair = tuple[Evaluation, Evaluation]
MakeUp = Callable[[dict[str, list[float]]], Evaluation]


def test_rows_hold_the_plain_means_and_sizes(pair: Pair) -> None:
    before, after = pair
    comparison = compare(before, after, metric="R@1")
    for language, row in comparison.per_language.items():
        assert (row.before, row.after) == (before.per_language[language]["R@1"], after.per_language[language]["R@1"])
        assert row.queries == before.counts[language]
        assert row.low <= row.difference <= row.high
    assert comparison.macro.difference == pytest.approx(after.macro["R@1"] - before.macro["R@1"], abs=1e-15)
    assert comparison.macro.queries == 500


def test_a_real_gain_is_significant_and_none_is_not(pair: Pair) -> None:
    found = compare(*pair, metric="R@1")
    assert found.significant(found.per_language["de"])
    assert not found.significant(found.per_language["th"])


def test_same_seed_same_interval_and_another_seed_another(pair: Pair) -> None:
    assert compare(*pair, metric="R@1", seed=3) == compare(*pair, metric="R@1", seed=3)
    assert compare(*pair, metric="R@1", seed=3).macro != compare(*pair, metric="R@1", seed=4).macro


def test_the_order_of_questions_moves_nothing(pair: Pair) -> None:
    values = {"R@1": dict(reversed(pair[0].per_query["R@1"].items()))}
    shuffled = type(pair[0])(values, dict(reversed(pair[0].languages.items())))
    assert compare(shuffled, pair[1], metric="R@1") == compare(*pair, metric="R@1")


def test_a_language_draws_from_its_own_stream(pair: Pair, made_up: MakeUp) -> None:
    together = compare(*pair, metric="R@1").per_language["de"]
    alone = compare(*(made_up({"de": list(e.of("R@1", "de").values())}) for e in pair), metric="R@1")
    assert alone.per_language["de"] == alone.macro
    assert together == replace(alone.macro, p=2 * alone.macro.p)  # corrected for two languages, and the smaller of two


def test_interval_is_the_normal_one_on_many_questions(made_up: MakeUp) -> None:
    rng = np.random.default_rng(1)
    d = rng.normal(0.02, 0.3, size=5_000)
    row = compare(made_up({"en": [0.0] * 5_000}), made_up({"en": d.tolist()}), metric="R@1").macro
    half = norm.ppf(0.975) * d.std() / np.sqrt(d.size)
    assert (row.low, row.high) == pytest.approx((d.mean() - half, d.mean() + half), abs=0.05 * half)


def test_macro_interval_is_the_stratified_normal_one(pair: Pair) -> None:
    before, after = pair
    macro = compare(before, after, metric="R@1").macro
    changes = [[after.per_query["R@1"][q] - v for q, v in before.of("R@1", lang).items()] for lang in ("de", "th")]
    error = np.sqrt(sum(np.var(d) / len(d) for d in changes)) / 2  # sd of (m_de + m_th) / 2
    half = norm.ppf(0.975) * error
    expected = (macro.difference - half, macro.difference + half)
    assert (macro.low, macro.high) == pytest.approx(expected, abs=0.1 * half)


def test_one_language_agrees_with_scipys_paired_bootstrap(pair: Pair) -> None:
    old, new = ([e.per_query["R@1"][f"de{n}"] for n in range(400)] for e in pair)

    def difference(x: Array, y: Array, axis: int) -> Array:
        return np.mean(y, axis=axis) - np.mean(x, axis=axis)

    rng = np.random.default_rng(0)
    scipys = bootstrap((old, new), difference, paired=True, method="percentile", rng=rng, vectorized=True)
    row = compare(*pair, metric="R@1").per_language["de"]
    ends = (scipys.confidence_interval.low, scipys.confidence_interval.high)
    assert (row.low, row.high) == pytest.approx(ends, abs=0.005)


@pytest.mark.parametrize("change", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 5])
def test_equal_differences_give_a_point_without_warnings(made_up: MakeUp, count: int, change: float) -> None:
    row = compare(made_up({"en": [0.0] * count}), made_up({"en": [change] * count}), metric="R@1").macro
    assert (row.low, row.high) == (change, change)
    exact = 2 / 2**count if change else 1.0  # all signs alike, either way
    assert row.p == pytest.approx(exact, abs=0.01)


def test_p_of_one_language_is_that_of_scipys_permutation_test(pair: Pair) -> None:
    d = np.array([pair[1].per_query["R@1"][f"de{n}"] - pair[0].per_query["R@1"][f"de{n}"] for n in range(60)])
    noise = np.random.default_rng(5).normal(0, 0.1, 60)
    theirs = permutation_test((d + noise,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0))
    values = {f"de{n}": float(v) for n, v in enumerate(d + noise)}
    ours = compare(*(Evaluation({"R@1": row}, dict.fromkeys(row, "de")) for row in (dict.fromkeys(values, 0.0), values)), metric="R@1")
    assert ours.macro.p == pytest.approx(theirs.pvalue, abs=0.01)
    assert ours.per_language["de"].p == ours.macro.p


def test_a_language_pays_for_the_number_of_languages(made_up: MakeUp) -> None:
    """Holm: the smallest p times three, the next times two, and none below the one before."""
    before = {"en": [0.0] * 6, "fi": [0.0] * 5, "th": [0.0, 1.0]}
    after = {"en": [1.0] * 6, "fi": [1.0] * 5, "th": [1.0, 0.0]}
    rows = compare(made_up(before), made_up(after), metric="R@1").per_language
    assert rows["en"].p == pytest.approx(3 * 2 / 2**6, abs=0.015)
    assert rows["fi"].p == pytest.approx(max(2 * 2 / 2**5, rows["en"].p), abs=0.015)
    assert rows["th"].p == 1.0


def test_without_a_difference_p_is_as_often_small_as_it_says(made_up: MakeUp) -> None:
    rng, small = np.random.default_rng(3), 0
    for seed in range(200):
        rows = [(rng.random(40) < 0.5).astype(float).tolist() for _ in range(2)]
        small += compare(*(made_up({"en": row}) for row in rows), metric="R@1", resamples=300, seed=seed).macro.p < 0.1
    assert 8 <= small <= 33  # 20 expected, fewer since the differences are discrete; three standard errors are 13


def test_a_higher_confidence_is_wider(pair: Pair) -> None:
    narrow, wide = (compare(*pair, metric="R@1", confidence=c).macro for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("resamples", "confidence"), [(0, 0.95), (-1, 0.95), (10, 0.0), (10, 1.0), (10, 95.0)])
def test_options_out_of_range_are_refused(pair: Pair, resamples: int, confidence: float) -> None:
    with pytest.raises(UsageError, match="resamples"):
        compare(*pair, metric="R@1", resamples=resamples, confidence=confidence)


def test_other_questions_or_metrics_are_refused(pair: Pair, made_up: MakeUp) -> None:
    with pytest.raises(MismatchError, match="different queries"):
        compare(pair[0], made_up({"de": [1.0]}), metric="R@1")
    with pytest.raises(UsageError, match=r"'MRR'[\s\S]*both hold: R@1"):
        compare(*pair, metric="MRR")


def test_queries_of_other_languages_are_refused_by_name(pair: Pair) -> None:
    other = Evaluation(pair[1].per_query, {**pair[1].languages, "de3": "nl"})
    with pytest.raises(MismatchError, match="query 'de3' counts as de in one evaluation and as nl in the other"):
        compare(pair[0], other, metric="R@1")


def test_the_interval_covers_the_truth_about_as_often_as_it_says(made_up: MakeUp) -> None:
    rng = np.random.default_rng(11)
    before = made_up({"en": [0.0] * 60, "th": [0.0] * 90})
    covered = 0
    for seed in range(100):
        after = {"en": (rng.random(60) < 0.3).astype(float).tolist(), "th": (rng.random(90) < 0.5).astype(float).tolist()}
        macro = compare(before, made_up(after), metric="R@1", resamples=300, seed=seed, confidence=0.9).macro
        covered += macro.low <= 0.4 <= macro.high
    assert 81 <= covered <= 99  # 90 expected, three standard errors are 9
