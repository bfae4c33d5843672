"""Rows of headline.py that train nothing: BM25, BM25 beside an encoder, and an encoder's best passages ranked again by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benches.centring import Task, judged, macro, places, ranked
from benches.harness import Report, require_package
from benches.parts.measured import METRIC

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from umr import EncoderConfig, LabelConfig, MineConfig

RERANKED = 10  # passages of a query


def by_words(task: Task, encoder: EncoderConfig, work: Path, whiten: float, shard: int, report: Report) -> dict[str, float]:
    """The macro mean of BM25, and of BM25 and the encoder together: the sum of the z-scores that each gives all passages of a query.

    Arguments:
        task: queries and passages.
        encoder: centred by language.
        work: folder of its vectors.
        whiten: strength of the whitening.
        shard: texts of a file of vectors.
        report: of the benchmark.
    """
    import numpy as np

    from umr.encoder.load import load_encoder
    from umr.mine.bm25 import Bm25
    from umr.progress.console import Console

    require_package("bm25s", "bm25s")
    passages, queries, rows, scores = ranked(task, load_encoder(encoder), "language", work, report, False, "bf16", whiten, shard)
    texts = [text for _, text in queries.records.texts(np.arange(len(queries), dtype=np.uint32))]
    words = Bm25(passages, texts, Console()).find(np.arange(len(queries)), len(passages))
    found = _dense(words.rows, np.nan_to_num(words.scores, neginf=0.0), len(passages))
    both = _standardised(found) + _standardised(_dense(rows, scores, len(passages)))
    where = places(passages)
    orders = {"bm25": found, "bm25 and start": both}
    judgments = {
        name: judged(task.gold, queries, np.argsort(-values, axis=1, kind="stable").astype(np.uint32), where)
        for name, values in orders.items()
    }
    return {name: macro(values)[METRIC[task.name]] for name, values in judgments.items()}


def _dense(rows: NDArray[np.uint32], scores: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """[Q, n] scores of all passages; 0 of those that are in no list."""
    import numpy as np

    found = np.zeros((len(rows), count + 1), dtype=np.float32)
    np.put_along_axis(found, np.minimum(rows.astype(np.int64), count), scores, axis=1)
    return found[:, :count]


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """[Q, n] z-scores of each query's."""
    spread = values.std(axis=1, keepdims=True)
    found: NDArray[np.float32] = (values - values.mean(axis=1, keepdims=True)) / (spread + 1e-9)
    return found


def by_label(task: Task, folder: Path, encoder: EncoderConfig, mining: MineConfig, labelling: LabelConfig) -> Mapping[str, float]:
    """R@1 in points, macro mean over languages: of the encoder, and of its RERANKED best passages ordered by likelihood and by label.

    Arguments:
        task: queries and passages.
        folder: a work folder for it.
        encoder, mining, labelling: as the round that trains has them.
    """
    import numpy as np

    import umr
    from umr.label.combine import combine_scores
    from umr.progress.console import Console

    work = umr.create_workspace(folder, task.passages, task.queries, encoder, reporter=Console())
    candidates = umr.mine(work, replace(mining, top_k=RERANKED), 0, Console())
    labels = umr.label(work, labelling, 0, Console())
    fused = {
        f"label, fuse {weight:g}": combine_scores(candidates, labels.scores[None], replace(labelling, fuse=weight))
        for weight in (0.25, 1.0)
    }
    orders = {"start, a part of the queries": candidates.scores, "likelihood": labels.scores, **fused}
    where, found = places(work.passages), {}
    for name, values in orders.items():
        order = np.take_along_axis(candidates.rows, np.argsort(-values, axis=1, kind="stable"), axis=1)
        found[f"rerank: {name}"] = macro(judged(task.gold, work.queries, order, where))["R@1"]
    return found
