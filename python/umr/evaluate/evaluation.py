"""`Evaluation`: what measuring one run gave, question by question, and the means that are read from it.

The per-question values are the record; every mean is derived from them, so that two evaluations can be compared later
(`significance.py`) and no table can disagree with its data. As JSON it is one object of format `umr-evaluation` 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from umr.errors import FormatError

FORMAT = {"format": "umr-evaluation", "version": 1}


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one run: every value in 0 to 1, higher is better.

    Arguments:
        per_query: metric -> {question id -> value}, every judged question in every metric.
        languages: question id -> language code, the same questions.
        missing: judged questions that the run does not hold; they count as 0 in every mean.
        unjudged: questions of the run without judgments; they are in no mean.
        hopeless: judged questions without any relevant passage; they count as 0, as in trec_eval.
    """

    per_query: Mapping[str, Mapping[str, float]]
    languages: Mapping[str, str]
    missing: int = 0
    unjudged: int = 0
    hopeless: int = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order asked for."""
        return tuple(self.per_query)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Language -> number of judged questions, languages sorted."""
        return dict(sorted(Counter(self.languages.values()).items()))

    @cached_property
    def per_language(self) -> dict[str, dict[str, float]]:
        """Language -> {metric -> mean over the questions of that language}."""
        return {language: {name: fmean(self.of(name, language).values()) for name in self.metrics} for language in self.counts}

    @cached_property
    def macro(self) -> dict[str, float]:
        """Metric -> plain mean over the languages, each language weighing the same."""
        return {name: fmean(row[name] for row in self.per_language.values()) for name in self.metrics}

    @cached_property
    def micro(self) -> dict[str, float]:
        """Metric -> mean over all questions."""
        return {name: fmean(values.values()) for name, values in self.per_query.items()}

    def of(self, metric: str, language: str) -> dict[str, float]:
        """Question id -> value of one metric for the questions of one language."""
        return {query: value for query, value in self.per_query[metric].items() if self.languages[query] == language}

    def to_json(self) -> str:
        """Writes JSON text: the record and, for readers without umr, the means."""
        means = {"counts": self.counts, "per_language": self.per_language, "macro": self.macro, "micro": self.micro}
        asides = {"missing": self.missing, "unjudged": self.unjudged, "hopeless": self.hopeless}
        record = {"languages": dict(self.languages), "per_query": {k: dict(v) for k, v in self.per_query.items()}}
        return json.dumps(FORMAT | asides | means | record, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Reads what `to_json` wrote; the means are computed again from the record.

        Raises:
            FormatError: the text is not such an evaluation.
        """
        try:
            data = json.loads(text)
            if {key: data[key] for key in FORMAT} != FORMAT:
                raise ValueError(f"format {data['format']!r} version {data['version']!r}")
            fields = {key: data[key] for key in ("per_query", "languages", "missing", "unjudged", "hopeless")}
            if any(values.keys() != fields["languages"].keys() for values in fields["per_query"].values()):
                raise ValueError("its metrics are not all of the same questions")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "give a file that `umr eval` wrote"
            raise FormatError(f"not an evaluation of format umr-evaluation 1: {error}", hint) from None
        return cls(**fields)
