"""`Evaluation`: what measuring one run gave, query by query, and the means that are read from it.

The per-query values are the record; every mean is derived from them, so that two evaluations can be compared later
(`significance.py`) and no table can disagree with its data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

FORMAT = {"format": "umr-evaluation", "version": 1}


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one run: every value in 0 to 1, higher is better.

    Arguments:
        per_query: metric -> {query id -> value}, every judged query in every metric.
        languages: query id -> language code, the same queries.
        missing: judged queries that the run does not hold; they count as 0 in every mean.
        unjudged: queries of the run without judgments; they are in no mean.
        without_relevant: judged queries without any relevant passage; they count as 0, as in trec_eval.
    """

    per_query: Mapping[str, Mapping[str, float]]
    languages: Mapping[str, str]
    missing: int = 0
    unjudged: int = 0
    without_relevant: int = 0

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.macro.items())
        return f"Evaluation({len(self.languages):,} queries in {len(self.counts)} languages; macro {means})"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order asked for."""
        return tuple(self.per_query)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Language -> number of judged queries, languages sorted."""
        return dict(sorted(Counter(self.languages.values()).items()))

    @cached_property
    def per_language(self) -> dict[str, dict[str, float]]:
        """Language -> {metric -> mean over the queries of that language}."""
        return {language: {name: fmean(self.of(name, language).values()) for name in self.metrics} for language in self.counts}

    @cached_property
    def macro(self) -> dict[str, float]:
        """Metric -> plain mean over the languages, each language weighing the same."""
        return {name: fmean(row[name] for row in self.per_language.values()) for name in self.metrics}

    @cached_property
    def micro(self) -> dict[str, float]:
        """Metric -> mean over all queries."""
        return {name: fmean(values.values()) for name, values in self.per_query.items()}

    def of(self, metric: str, language: str) -> dict[str, float]:
        """Query id -> value of one metric for the queries of one language."""
        return {query: value for query, value in self.per_query[metric].items() if self.languages[query] == language}

    def data(self) -> dict[str, Any]:
        """As JSON has it: the record and, for readers without umr, the means."""
        return {
            **FORMAT,
            **{name: getattr(self, name) for name in ("missing", "unjudged", "without_relevant")},
            **{name: getattr(self, name) for name in ("counts", "per_language", "macro", "micro")},
            "languages": dict(self.languages),
            "per_query": {metric: dict(values) for metric, values in self.per_query.items()},
        }
