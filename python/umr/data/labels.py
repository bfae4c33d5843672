"""Labels: every query's candidates with their scores and the distribution made of them (paper, section 3.2), in Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import Candidates, read_candidates
from umr.data.table import read_columns, write_blocks
from umr.errors import FormatError
from umr.layout import RoundLayout
from umr.manifest import read_manifest, require_whole

if TYPE_CHECKING:
    from umr._rust import Records

Floats = NDArray[np.float32]


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

    def write(self, path: Path, passages: Records) -> None:
        """Write one Parquet row a (query, passage), in order of query and rank."""
        write_blocks(path, self._blocks(passages))

    def _blocks(self, passages: Records) -> Iterator[dict[str, Any]]:
        """The columns of some thousand queries after the other."""
        values = {"score": self.scores, "label": self.labels} | ({} if self.combined is None else {"combined": self.combined})
        start = 0
        for part in self.candidates.parts():
            some = slice(start, start + len(part.query_ids))
            yield part.columns(passages) | {name: value[some].reshape(-1) for name, value in values.items()}
            start = some.stop


def read_labels(path: Path) -> Labels:
    """Read labels.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a table of labels, a label is not finite though its candidate was scored, a query that has
            candidates has none, or a padded place has one.
    """
    candidates = read_candidates(path)
    table = read_columns(path, ("score", "label", *_optional(path)))
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


def _optional(path: Path) -> list[str]:
    from pyarrow import parquet

    return [name for name in ("combined",) if name in parquet.read_schema(path).names]


def labels_of(place: RoundLayout) -> Labels:
    """The labels of a labelled round.

    Raises:
        MismatchError: the file is not the one that labelling wrote.
        FormatError: it is damaged.
    """
    require_whole(place.labelled, read_manifest(place.labelled, "label"), "label the round again with --force: scores are kept")
    return read_labels(place.labels)
