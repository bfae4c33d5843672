"""A training batch put together with dictionaries: the slow twin of `umr.train.batches.make_batch`."""

from __future__ import annotations

import math

import numpy as np

from umr._rust import sample_candidates
from umr.config import TrainConfig
from umr.data.labels import Labels


def make_batch(labels: Labels, queries: list[int], config: TrainConfig, step: int) -> tuple[list[int], list[list[float]]]:
    """Passage rows and labels [B][U] of a batch, one pair at a time."""
    known = [dict(zip(labels.candidates.rows[q].tolist(), labels.labels[q].tolist(), strict=True)) for q in queries]
    scored = [[passage for passage, label in mine.items() if label > -math.inf] for mine in known]
    counts = [len(mine) for mine in scored]
    count = min(config.passages_per_query, min(counts) if config.duplicates == "keep" else max(counts))
    rows = np.array(queries, dtype=np.uint32)
    drawn = sample_candidates(config.seed, step, rows, np.array(counts, dtype=np.uint32), count).tolist()
    chosen = [[mine[place] for place in places] for mine, places in zip(scored, drawn, strict=True)]
    if config.duplicates == "merge":
        passages = sorted({p for mine in chosen for p in mine})
        return passages, [[known[i].get(p, -math.inf) for p in passages] for i in range(len(queries))]
    passages = [p for mine in chosen for p in mine]
    return passages, [
        [known[i][p] if owner == i else -math.inf for owner, mine in enumerate(chosen) for p in mine] for i in range(len(queries))
    ]
