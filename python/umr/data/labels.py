"""Labels: every query's candidates with their scores and the distribution made of them (paper, section 3.2), in Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records
from umr.data.candidates import Candidates, read_candidates
from umr.data.table import read_columns, write_blocks
from umr.errors import FormatError
from umr.layout import RoundLayout
from umr.manifest import read_manifest, require_whole

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
ENOUGH = 4.0
"""Effective candidates of a query that labels should have on average; with half of them they are saturated."""
SAMPLED = 4096  # queries whose scores a temperature is found with
HALVINGS = 50  # of the interval that a temperature is in


@dataclass(frozen=True)
class Labels:
    """Candidates with their scores and labels.

    Arguments:
        candidates: what was scored.
        scores: [Q, k] float32, nats a query token (or a query, where summed); NaN where a candidate was screened out or is padding.
        labels: [Q, k] float32 log-probabilities, -inf where there is no score.
        combined: [Q, k] float32 nats that the labels are made of, where they are not the scores; NaN where there is no score.
    """

    candidates: Candidates
    scores: Floats
    labels: Floats
    combined: Floats | None = None

    def __repr__(self) -> str:
        queries, k = self.labels.shape
        kept = self.effective[~np.isnan(self.effective)]
        about = f", {kept.mean():.1f} effective a query" if len(kept) else ""
        return f"Labels({queries:,} queries x {k} candidates, {int(np.isfinite(self.labels).sum()):,} labelled{about})"

    @property
    def effective(self) -> Doubles:
        """[Q] exp of the entropy of a query's label: as many equally likely candidates have it; NaN where nothing is labelled."""
        return effective_candidates(self.labels)

    def write(self, path: Path, passages: Records) -> None:
        """Write one Parquet row a (query, passage), in order of query and rank."""
        values = {"score": self.scores, "label": self.labels} | ({} if self.combined is None else {"combined": self.combined})
        parts = self.candidates.parts()
        write_blocks(path, (part.columns(passages) | {name: v[some].reshape(-1) for name, v in values.items()} for some, part in parts))


def effective_candidates(scores: NDArray[np.floating[Any]], temperature: float = 1.0) -> Doubles:
    """How many equally likely candidates have the entropy of a softmax.

    Arguments:
        scores: [Q, k] nats or log-probabilities; what is not finite does not count.
        temperature: the scores are divided by it.

    Returns:
        [Q], from 1 to k; NaN where no score counts.
    """
    scaled = np.where(np.isfinite(scores), scores, -np.inf).astype(np.float64)
    best = scaled.max(axis=1, keepdims=True, initial=-np.inf)
    lower = np.where(np.isfinite(scaled), scaled - np.where(np.isfinite(best), best, 0), -np.inf) / temperature
    weights = np.exp(lower)
    total = weights.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.log(total) - (weights * np.where(weights > 0, lower, 0)).sum(axis=1) / total
    return np.where(total > 0, np.exp(entropy), np.nan)


def temperature_for(labels: Labels, effective: float) -> float:
    """The temperature that would give so many effective candidates on average: they rise with it, so that halving an interval finds it.

    Arguments:
        labels: whose scores are taken; of many queries an even sample.
        effective: above 1 and below the scored candidates of a query on average.
    """
    scores = labels.scores if labels.combined is None else labels.combined
    some = np.flatnonzero(np.isfinite(scores).any(axis=1))
    some = some[np.linspace(0, len(some) - 1, min(len(some), SAMPLED)).astype(int)]
    low, high = -12.0, 12.0  # powers of 10
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = effective_candidates(scores[some], 10**middle).mean() > effective
        low, high = (low, middle) if enough else (middle, high)
    return float(10**high)


def saturation(labels: Labels) -> str | None:
    """What to say of labels that leave nearly all weight on one candidate; None where they do not.

    Arguments:
        labels: of a round.
    """
    scored = np.isfinite(labels.labels).sum(axis=1)
    if not scored.any():
        return None
    mean, many = float(np.nanmean(labels.effective)), float(scored[scored > 0].mean())
    wanted = min(ENOUGH, many / 2)
    if mean >= wanted / 2:
        return None
    cure = f"--temperature {temperature_for(labels, wanted):.2g} would give {wanted:.2g}"
    return f"the labels are saturated: {mean:.1f} of {many:.0f} candidates are effective on average; {cure}"


def read_labels(path: Path) -> Labels:
    """Read labels.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a table of labels, a label is not finite though its candidate was scored, a query that has
            candidates has none, or a padded place has one.
    """
    from pyarrow import parquet

    candidates = read_candidates(path)
    more = ["combined"] if "combined" in parquet.read_schema(path).names else []
    table = read_columns(path, ("score", "label", *more))
    columns = {name: values.astype(np.float32).reshape(candidates.rows.shape) for name, values in table.items()}
    labels = columns.pop("label")
    kept = np.isfinite(labels)
    whole = np.logical_and.reduce([np.isfinite(c) for c in columns.values()]) & kept
    screened = np.logical_and.reduce([np.isnan(c) for c in columns.values()]) & (labels == -np.inf)
    right = np.where(candidates.present, whole | screened, screened).all(axis=1) & (kept.any(axis=1) | ~candidates.present.any(axis=1))
    bad = np.flatnonzero(~right)
    if len(bad):
        raise FormatError(
            f"{path}: a score or label of query {candidates.query_ids[bad[0]]!r} is not finite",
            "run `umr label` again with --force",
        )
    return Labels(candidates, columns["score"], labels, columns.get("combined"))


def labels_of(place: RoundLayout) -> Labels:
    """The labels of a labelled round.

    Raises:
        MismatchError: the file is not the one that labelling wrote.
        FormatError: it is damaged.
    """
    require_whole(place.labelled, read_manifest(place.labelled, "label"), "label the round again with --force: scores are kept")
    return read_labels(place.labels)
