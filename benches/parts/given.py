"""Labels that no language model made: a round is labelled with scores that a benchmark gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from umr import Workspace

NO_LABEL = -1000.0  # of a passage that gets no mass, as in the paper's code


def write_labels(work: Workspace, scores: NDArray[Any], temperature: float, rows: NDArray[Any] | None = None) -> None:
    """Label round 0 of a work folder.

    Arguments:
        work: whose round is mined.
        scores: [Q, k] float32.
        temperature: divides the scores.
        rows: [Q, k] passages in place of the candidates. (default: the candidates)
    """
    from umr.data.candidates import candidates_of
    from umr.data.labels import Labels
    from umr.label.combine import normalise
    from umr.manifest import checksums, write_manifest

    place = work.layout.round(0)
    candidates = candidates_of(place)
    candidates = candidates if rows is None else replace(candidates, rows=rows)
    Labels(candidates, scores, normalise(scores, temperature)).write(place.labels, work.passages)
    made_from = {"candidates": checksums(place.candidates)[place.candidates.name]}
    write_manifest(place.labelled, "label", made_from, {"files": checksums(place.labels), "pairs": int(scores.size)})
