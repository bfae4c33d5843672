"""Labels: scores become a distribution over every query's candidates (paper, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import Candidates, long_columns, read_candidates
from umr.data.table import read_columns, write_columns
from umr.errors import FormatError
from umr.layout import RoundLayout
from umr.manifest import read_manifest, require_whole

if TYPE_CHECKING:
    from umr._rust import Records

Floats = NDArray[np.float32]


def normalise(scores: Floats, temperature: float) -> Floats:
    """Log-softmax of each row of scores divided by the temperature.

    Arguments:
        scores: [Q, k] float32 nats.
        temperature: divides; the paper's code multiplies by 10, which is 0.1 here.

    Returns:
        [Q, k] float32 log-probabilities; the exponentials of a row sum to 1.
    """
    scaled = scores.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    labels: Floats = (scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))).astype(np.float32)
    return labels


@dataclass(frozen=True)
class Labels:
    """Candidates with their scores and labels.

    Arguments:
        candidates: what was scored.
        scores: [Q, k] float32, nats a query token (or a query, where summed).
        labels: [Q, k] float32 log-probabilities.
    """

    candidates: Candidates
    scores: Floats
    labels: Floats

    def write(self, path: Path, passages: Records) -> None:
        """Write one Parquet row a (query, passage), in order of query and rank."""
        c = self.candidates
        columns = long_columns(c.query_ids, c.langs, c.rows.shape[1])
        flat = c.rows.reshape(-1)
        columns |= {"passage_id": passages.ids(flat), "passage_row": flat, "retriever_score": c.scores.reshape(-1)}
        write_columns(path, columns | {"score": self.scores.reshape(-1), "label": self.labels.reshape(-1)})


def read_labels(path: Path) -> Labels:
    """Read labels.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a table of labels, or a label is not finite.
    """
    candidates = read_candidates(path)
    table = read_columns(path, ("score", "label"))
    shape = candidates.rows.shape
    scores, labels = (table[name].astype(np.float32).reshape(shape) for name in ("score", "label"))
    bad = np.flatnonzero(~(np.isfinite(scores) & np.isfinite(labels)).all(axis=1))
    if len(bad):
        raise FormatError(
            f"{path}: a score or label of query {candidates.query_ids[bad[0]]!r} is not finite",
            "run `umr label` again with --force",
        )
    return Labels(candidates, scores, labels)


def labels_of(place: RoundLayout) -> Labels:
    """The labels of a labelled round.

    Raises:
        MismatchError: the file is not the one that labelling wrote.
        FormatError: it is damaged.
    """
    require_whole(place.labelled, read_manifest(place.labelled, "label"), "label the round again with --force: scores are kept")
    return read_labels(place.labels)
