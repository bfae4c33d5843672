"""What labels look like, language by language: how sharp they are, how far they follow the retriever, and what they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from umr._rust import Records
from umr.data.candidates import PADDING
from umr.data.labels import Labels, labels_of, saturation
from umr.data.passage_langs import passage_languages
from umr.data.workspace import Workspace, round_for
from umr.label.inspect.examples import Example, FirstPlaces, examples, first_places
from umr.label.inspect.statistics import Statistics, macro, statistics, warnings
from umr.manifest import read_manifest
from umr.progress import Reporter, Reporting, reporter_of


@dataclass(frozen=True)
class Inspection:
    """What the labels of a round look like.

    Arguments:
        number: of the round.
        lm: the language model as it was named when the round was labelled.
        made_from: what decided the labels, as the round's manifest keeps it.
        per_language: language code -> its statistics, codes sorted.
        macro: plain means over the languages, each weighing the same; `queries` and `unscored` are sums.
        examples: language code -> queries whose first passage changed, largest shift first.
        warnings: what looks wrong, in words.
        combined: whether the labels are made of more than the language model's scores.
    """

    number: int
    lm: str
    made_from: Mapping[str, Any]
    per_language: Mapping[str, Statistics]
    macro: Statistics
    examples: Mapping[str, list[Example]]
    warnings: Sequence[str]
    combined: bool = False

    def __repr__(self) -> str:
        queries = f"{self.macro.queries:,} queries in {len(self.per_language)} languages"
        return f"Inspection(round {self.number} by {self.lm}: {queries}, {self.macro.effective:.1f} effective candidates on average)"

    def data(self) -> dict[str, Any]:
        """As JSON has it: plain dictionaries, None for NaN."""
        return {
            "round": self.number,
            "lm": self.lm,
            "made_from": dict(self.made_from),
            "combined": self.combined,
            "per_language": {lang: _plain(row) for lang, row in self.per_language.items()},
            "macro": _plain(self.macro),
            "examples": {lang: [asdict(e) for e in found] for lang, found in self.examples.items()},
            "warnings": list(self.warnings),
        }


def inspect_labels(workspace: Workspace, number: int | None = None, count: int = 3, reporter: Reporting = None) -> Inspection:
    """Inspect the labels of a round; no language model is loaded.

    Arguments:
        workspace: with a labelled round.
        number: the round; None for the newest that is labelled.
        count: examples a language, at most.
        reporter: told where passages have no language and are identified.

    Raises:
        InputError: the round has not been labelled.
        MismatchError: its labels are not what labelling wrote.
        UsageError: there is no such round.
    """
    if number is None:
        number = max((place.number for place in workspace.layout.rounds() if place.labelled.exists()), default=None)
    place = round_for(workspace.layout, "train", number)
    labels = labels_of(place)
    firsts = first_places(labels)
    langs = _passage_langs(workspace.passages, labels, firsts, reporter_of(reporter))
    rows = statistics(labels, langs)
    manifest = read_manifest(place.labelled, "label")
    made_from = manifest["made_from"]
    found = examples(labels, firsts, workspace.queries, workspace.passages, count)
    alarms = [*warnings(rows, made_from.get("temperature")), *filter(None, [saturation(labels)])]
    lm = str(manifest.get("lm") or made_from.get("lm", "unknown"))
    return Inspection(place.number, lm, made_from, rows, macro(rows), found, alarms, labels.combined is not None)


def _passage_langs(passages: Records, labels: Labels, firsts: FirstPlaces, reporter: Reporter) -> dict[int, str]:
    """Row -> language code of every passage in a first place: stated, else identified."""
    queries = np.arange(len(labels.labels))
    rows = np.unique(labels.candidates.rows[queries[:, None], np.stack([firsts.retriever, firsts.label], axis=1)])
    rows = rows[rows != PADDING]
    codes, numbers = passage_languages(passages, rows, reporter)
    return {int(row): codes[number] for row, number in zip(rows, numbers, strict=True)}


def _plain(row: Statistics) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in asdict(row).items()}
