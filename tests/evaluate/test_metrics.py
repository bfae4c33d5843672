"""Metrics against the twin written from the definitions, the order of ties, and what is missing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import metrics as twin
from umr.data.qrels import Qrels
from umr.errors import InputError, UsageError
from umr.evaluate import evaluate_run

NAMES = ("R@1", "R@5", "Success@1", "Success@5", "P@3", "MRR", "MRR@2", "nDCG", "nDCG@10", "nDCG@3", "mAP", "mAP@3")
PASSAGES = st.sampled_from([f"en:{n}" for n in range(12)])


Task = tuple[dict[str, list[tuple[str, float]]], dict[str, dict[str, int]]]
"""A run and the grades of its queries."""


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """A run with ties and judgments with grades -1 to 3, over three queries."""
    run, grades = {}, {}
    for query in ("a", "b", "c"):
        grades[query] = draw(st.dictionaries(PASSAGES, st.integers(-1, 3), min_size=1, max_size=6))
        ranking = draw(st.lists(PASSAGES, unique=True, max_size=12))
        scores = sorted(draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=12, max_size=12)), reverse=True)
        run[query] = list(zip(ranking, scores, strict=False))
    return run, grades


@given(tasks())
def test_every_metric_equals_its_definition(task: Task) -> None:
    run, grades = task
    evaluation = evaluate_run(run, Qrels(grades), dict.fromkeys("abc", "en"), NAMES)
    for name in NAMES:
        expected = {q: twin.metric(name, twin.order(run[q]), grades[q]) for q in grades}
        assert evaluation.per_query[name] == pytest.approx(expected, abs=1e-12), name


@given(tasks())
def test_recall_and_success_agree_when_one_passage_is_relevant(task: Task) -> None:
    run, grades = task
    single = {query: {next(iter(row)): 1} for query, row in grades.items()}
    found = evaluate_run(run, Qrels(single), dict.fromkeys("abc", "en"), ("R@5", "Success@5")).per_query
    assert found["R@5"] == found["Success@5"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_equal_scores_stand_by_id_downwards_as_in_trec_eval(first: str) -> None:
    run = {"q": [(first, 1.0), ("ab".replace(first, ""), 1.0)]}
    evaluation = evaluate_run(run, Qrels({"q": {"b": 1}}), {"q": "en"}, ("R@1",))
    assert evaluation.per_query["R@1"]["q"] == 1.0


def test_scores_that_float32_cannot_tell_apart_are_equal_as_in_trec_eval() -> None:
    run = {"q": [("a", 1.0 + 1e-12), ("b", 1.0)]}
    assert evaluate_run(run, Qrels({"q": {"a": 1}}), {"q": "en"}, ("MRR",)).macro == {"MRR": 0.5}


@given(tasks())
def test_trec_evals_own_figures_come_out_to_its_last_printed_digit(task: Task) -> None:
    """trec_eval itself, as pytrec_eval compiles it; it has no cutoff for the reciprocal rank."""
    import pytrec_eval

    run, grades = task
    names = {"recall_5": "R@5", "success_1": "Success@1", "P_5": "P@5", "recip_rank": "MRR", "ndcg_cut_10": "nDCG@10", "ndcg": "nDCG",
             "map": "mAP", "map_cut_5": "mAP@5"}  # fmt: skip
    positive = {q: {p: max(0, grade) for p, grade in row.items()} for q, row in grades.items()}
    theirs = pytrec_eval.RelevanceEvaluator(positive, set(names)).evaluate({q: dict(row) for q, row in run.items()})
    ours = evaluate_run(run, Qrels(grades), dict.fromkeys("abc", "en"), tuple(names.values()))
    for query, row in theirs.items():
        assert {name: f"{row[name]:6.4f}" for name in names} == {n: f"{ours.per_query[m][query]:6.4f}" for n, m in names.items()}


def test_missing_counts_as_zero_and_unjudged_is_left_out() -> None:
    run = {"q1": [("a", 1.0)], "q3": [], "unknown": [("a", 1.0)]}
    qrels = Qrels({"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}, "q4": {"a": 0}})
    evaluation = evaluate_run(run, qrels, dict.fromkeys(qrels.grades, "en"), ("R@1",))
    assert evaluation.per_query["R@1"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0, "q4": 0.0}
    assert (evaluation.missing, evaluation.unjudged, evaluation.without_relevant) == (2, 1, 1)


def test_macro_weighs_languages_and_micro_weighs_questions() -> None:
    run = {f"en{n}": [("a", 1.0)] for n in range(3)} | {"th0": [("b", 1.0)]}
    qrels = Qrels({query: {"a": 1} for query in run})
    evaluation = evaluate_run(run, qrels, {query: query[:2] for query in run}, ("R@1",))
    assert evaluation.counts == {"en": 3, "th": 1}
    assert evaluation.per_language == {"en": {"R@1": 1.0}, "th": {"R@1": 0.0}}
    assert evaluation.macro == {"R@1": 0.5}
    assert evaluation.micro == {"R@1": 0.75}


@pytest.mark.parametrize("name", ["R", "R@0", "R@-1", "R@x", "P", "Success", "recall@5", "MRR@", "", "R@5@5", "R@٣"])
def test_unknown_metric_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown metric[\s\S]*R@k, Success@k, P@k, MRR\[@k\]"):
        evaluate_run({}, Qrels({"q": {"a": 1}}), {"q": "en"}, (name,))


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        ([("a", 2.0), ("a", 1.0)], "names a passage twice"),
        ([("a", float("nan")), ("b", 2.0)], "not a number"),
    ],
)
def test_a_ranking_that_is_none_is_refused(ranking: list[tuple[str, float]], message: str) -> None:
    with pytest.raises(InputError, match=f"query 'q1'.*{message}"):
        evaluate_run({"q1": ranking}, Qrels({"q1": {"a": 1}}), {"q1": "en"})


def test_judged_questions_without_a_language_are_refused() -> None:
    with pytest.raises(InputError, match="1 of 2 judged queries are not among the queries, the first 'q2'"):
        evaluate_run({}, Qrels({"q1": {"a": 1}, "q2": {"a": 1}}), {"q1": "en"})


def test_no_judgment_and_no_metric_are_refused() -> None:
    with pytest.raises(InputError, match="no judgment"):
        evaluate_run({}, Qrels({}), {})
    with pytest.raises(UsageError, match="no metric"):
        evaluate_run({}, Qrels({"q": {"a": 1}}), {"q": "en"}, ())


def test_as_json_it_holds_the_values_and_the_means() -> None:
    run = {"q1": [("a", 1.0)], "q2": [("b", 1.0)]}
    evaluation = evaluate_run(run, Qrels({"q1": {"a": 1}, "q2": {"a": 1}}), {"q1": "en", "q2": "th"}, ("R@1",))
    assert json.loads(json.dumps(evaluation.data())) == {
        "format": "umr-evaluation", "version": 1, "missing": 0, "unjudged": 0, "without_relevant": 0,
        "counts": {"en": 1, "th": 1}, "per_language": {"en": {"R@1": 1.0}, "th": {"R@1": 0.0}},
        "macro": {"R@1": 0.5}, "micro": {"R@1": 0.5},
        "languages": {"q1": "en", "q2": "th"}, "per_query": {"R@1": {"q1": 1.0, "q2": 0.0}},
    }  # fmt: skip


def test_importing_evaluate_imports_no_torch_and_no_scipy_stats() -> None:
    code = "import sys, umr.evaluate; sys.exit('torch' in sys.modules or 'scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
