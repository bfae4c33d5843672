"""Gold beside labels: labels made of gold for a supervised twin, and how often pseudo labels are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benches.parts.given import NO_LABEL, write_labels
from benches.parts.inputs import GEMMA
from benches.parts.mix import Mix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from umr import Workspace

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)  # of the retriever, beside 1 of the likelihood
PARTS = 8  # of the queries, by how clear their labels are


def write_gold_labels(work: Workspace, mix: Mix) -> None:
    """Labels with all mass on the gold passages; one that was not mined takes the place of the last candidate."""
    import numpy as np

    from umr.data.candidates import candidates_of

    candidates = candidates_of(work.layout.round(0))
    rows = candidates.rows.copy()
    right = _right(work, mix, candidates.query_ids, rows)
    for q, name in enumerate(candidates.query_ids):
        if not right[q].any():
            rows[q, -1], right[q, -1] = work.passages.find(sorted(mix.gold[name]))[0], True
    write_labels(work, np.where(right, 0.0, NO_LABEL).astype(np.float32), 1.0, rows)


def label_quality(work: Workspace, mix: Mix) -> dict[str, str]:
    """How many queries of round 0 have a gold passage first, by retriever, likelihood and label, or at all; by labels fused with other
    weights; and how many labels are right in each part of the queries, ordered by how far the best likelihood is above the mean of the
    candidates (`drop`).
    """
    import numpy as np

    from umr.config import LabelConfig
    from umr.data.candidates import candidates_of
    from umr.data.labels import labels_of
    from umr.label.combine import combine_scores

    labels, candidates = labels_of(work.layout.round(0)), candidates_of(work.layout.round(0))
    right = _right(work, mix, candidates.query_ids, candidates.rows)
    orders = {"retriever": candidates.scores, "likelihood": labels.scores, "label": labels.labels}
    fused = {f"{w:g}": combine_scores(candidates, labels.scores[None], LabelConfig(lm=GEMMA, fuse=w)) for w in WEIGHTS}
    first = {name: np.take_along_axis(right, s.argmax(axis=1)[:, None], axis=1)[:, 0] for name, s in (orders | fused).items()}
    clear = np.argsort(labels.scores.max(axis=1) - labels.scores.mean(axis=1), kind="stable")
    parts = [f"{100 * first['label'][part].mean():.0f}" for part in np.array_split(clear, PARTS)]
    shares, weights = (", ".join(f"{name} {100 * first[name].mean():.1f}" for name in names) for names in (orders, fused))
    return {
        "gold first by weight of the retriever in the label, %": weights,
        "gold first, % of the queries": f"{shares}; among the candidates {100 * right.any(axis=1).mean():.1f}",
        "gold first by label, %, from the least clear eighth of the queries to the clearest": ", ".join(parts),
    }


def _right(work: Workspace, mix: Mix, names: list[str], rows: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """[Q, k] which candidates are gold."""
    import numpy as np

    right = np.zeros(rows.shape, dtype=bool)
    for q, name in enumerate(names):
        wanted = work.passages.find(sorted(mix.gold[name]))
        right[q] = np.isin(rows[q].astype(np.int64), wanted[wanted >= 0])
    return right
