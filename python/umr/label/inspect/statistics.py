"""Statistics of labels, language by language: pure functions of the labels of a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.data.labels import Labels, effective_candidates
from umr.label.inspect.agreement import rank_correlations
from umr.label.inspect.examples import FirstPlaces, first_places

Floats = NDArray[np.float64]
FLAT = 0.9
"""Labels are flat when their effective candidates are more than this share of all."""
SATURATED = 0.99
"""A query is saturated when its first candidate holds more than this share of the label."""


@dataclass(frozen=True)
class Statistics:
    """Means over the queries of a language, each of equal weight; NaN where no query has the value.

    Arguments:
        queries: with at least one scored candidate.
        unscored: pairs without a score, left out of everything else.
        candidates: scored candidates a query.
        score: nats, of a scored pair.
        spread: nats, standard deviation of the scores of a query's candidates.
        range: nats, best less worst score of a query.
        entropy: nats, of a query's label.
        effective: exp(entropy): as many equally likely candidates would have that entropy.
        effective_share: effective / candidates.
        top: share of the label on its first passage.
        saturated: share of the queries whose `top` exceeds 0.99.
        constant: share of the queries whose candidates all have the same score.
        tau: Kendall's tau-b of the label and the retriever's score.
        rho: Spearman's rank correlation of the same.
        score_tau: tau-b of the language model's score and the retriever's; differs from `tau` where labels are made of more.
        changed: share of the queries whose first passage is not the retriever's.
        place: place of the label's first passage in the retriever's list, from 1.
        kept: share of the label that is on the retriever's first passage.
        own_retriever: share of the queries whose first passage under the retriever is in the query's language.
        own_label: the same under the label; both are NaN where no first passage is in that language.
    """

    queries: int
    unscored: int
    candidates: float
    score: float
    spread: float
    range: float
    entropy: float
    effective: float
    effective_share: float
    top: float
    saturated: float
    constant: float
    tau: float
    rho: float
    score_tau: float
    changed: float
    place: float
    kept: float
    own_retriever: float
    own_label: float


def statistics(labels: Labels, passage_langs: Mapping[int, str] | None = None) -> dict[str, Statistics]:
    """The statistics of each language that has a scored query, codes sorted.

    Arguments:
        labels: of a round.
        passage_langs: row of a passage in a first place -> its language code; None where that is not known.
    """
    firsts = first_places(labels)
    values = _sharpness(labels, firsts) | _agreement(labels, firsts) | _own_language(labels, firsts, passage_langs or {})
    langs, asked = np.array(labels.candidates.langs, dtype=object), firsts.scored.any(axis=1)
    found = {}
    for lang in sorted(set(langs[asked])):
        here = langs == lang
        row: dict[str, Any] = {name: _mean(column[here & asked]) for name, column in values.items()}
        found[lang] = Statistics(
            queries=int((here & asked).sum()), unscored=int((labels.candidates.present & ~firsts.scored)[here].sum()), **row
        )
    return found


def macro(rows: Mapping[str, Statistics]) -> Statistics:
    """The mean of the languages' means, each weighing the same; counts are added."""
    table = [asdict(row) for row in rows.values()]
    counts = {name: sum(row[name] for row in table) for name in ("queries", "unscored")}
    names = [name for name in Statistics.__dataclass_fields__ if name not in counts]
    row: dict[str, Any] = {name: _mean(np.array([row[name] for row in table], dtype=np.float64)) for name in names}
    return Statistics(**counts, **row)


def warnings(rows: Mapping[str, Statistics], temperature: float | None) -> list[str]:
    """What looks wrong with labels, in words, each with a cure; empty when nothing does.

    Arguments:
        rows: language -> its statistics.
        temperature: of the labels, named beside the cure; None where it is not known.
    """
    now = "" if temperature is None else f" (now {temperature:g})"
    signs: dict[str, Callable[[Statistics], bool]] = {
        f"are nearly flat: they hardly tell candidates apart; lower --temperature{now}": lambda row: row.effective_share > FLAT,
        f"have nearly all weight on one passage; raise --temperature{now}": lambda row: row.saturated > FLAT,
        "have queries whose candidates all score the same: look for empty passages or queries": lambda row: row.constant > 0,
    }
    found = {words: [lang for lang, row in rows.items() if seen(row)] for words, seen in signs.items()}
    return [f"the labels of {', '.join(langs)} {words}" for words, langs in found.items() if langs]


def _sharpness(labels: Labels, firsts: FirstPlaces) -> dict[str, Floats]:
    """Name -> [Q], NaN where a query does not have the value: what needs the scores and labels alone."""
    scored, count = firsts.scored, firsts.scored.sum(axis=1).astype(np.float64)
    scores, several = np.where(scored, labels.scores, 0).astype(np.float64), count > 1
    p = _probabilities(labels, scored)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = scores.sum(axis=1) / count
        spread = np.sqrt((np.where(scored, scores - mean[:, None], 0) ** 2).sum(axis=1) / count)
    extent = np.where(scored, scores, -np.inf).max(axis=1) - np.where(scored, scores, np.inf).min(axis=1)
    effective, top = effective_candidates(np.where(scored, labels.labels, -np.inf)), p[np.arange(len(p)), firsts.label]
    return {
        "candidates": count, "score": mean, "spread": spread, "range": extent, "entropy": np.log(effective), "effective": effective,
        "effective_share": np.where(several, effective / np.maximum(count, 1), np.nan),
        "top": top, "saturated": np.where(several, top > SATURATED, np.nan), "constant": np.where(several, extent == 0, np.nan),
    }  # fmt: skip


def _agreement(labels: Labels, firsts: FirstPlaces) -> dict[str, Floats]:
    """Name -> [Q], NaN where a query does not have the value: labels beside the retriever."""
    retriever, scored = labels.candidates.scores, firsts.scored
    tau, rho = rank_correlations(labels.labels, retriever, scored)
    alone = tau if labels.combined is None else rank_correlations(labels.scores, retriever, scored)[0]
    kept = _probabilities(labels, scored)[np.arange(len(scored)), firsts.retriever]
    changed = (firsts.retriever != firsts.label).astype(np.float64)
    return {"tau": tau, "rho": rho, "score_tau": alone, "changed": changed, "place": firsts.label + 1.0, "kept": kept}


def _probabilities(labels: Labels, scored: NDArray[np.bool_]) -> Floats:
    """[Q, k] that sum to 1 over the scored candidates of a query, all 0 where it has none."""
    p = np.exp(np.where(scored, labels.labels, -np.inf).astype(np.float64))
    shares: Floats = p / np.maximum(p.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return shares


def _own_language(labels: Labels, firsts: FirstPlaces, passage_langs: Mapping[int, str]) -> dict[str, Floats]:
    """Whether a query's first passages are in its language; NaN for languages that no first passage is in."""
    present = {_primary(lang) for lang in passage_langs.values()}
    wanted = [_primary(lang) for lang in labels.candidates.langs]
    askable = np.array([lang in present for lang in wanted], dtype=bool)
    found = {}
    for name, column in (("own_retriever", firsts.retriever), ("own_label", firsts.label)):
        rows = labels.candidates.rows[np.arange(len(column)), column].tolist()
        same = [_primary(passage_langs.get(row, "")) == lang for row, lang in zip(rows, wanted, strict=True)]
        found[name] = np.where(askable, same, np.nan)
    return found


def _primary(code: str) -> str:
    """A language without its country and script: `zh` of `zh-Hant`."""
    return code.replace("_", "-").split("-")[0].lower()


def _mean(values: Floats) -> float:
    """The mean of what is not NaN; NaN when nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
