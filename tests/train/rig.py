"""A work folder ready for training without a language model: tiny BERT, tiny corpus, mined, labelled at random.

Imported by the tests of several folders as `train.rig` (`tests/` is on the path).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tiny
from umr.config import EncoderConfig, MineConfig, TrainConfig
from umr.data.labels import Labels
from umr.data.workspace import Workspace, create_workspace
from umr.label.combine import normalise
from umr.manifest import checksums, write_manifest
from umr.mine import mine

MINE = MineConfig(top_k=6, shard_rows=5, batch_tokens=256, threads=1)
Notes = tiny.Talk
TRAIN = TrainConfig(epochs=2, batch_size=4, passages_per_query=3, learning_rate=1e-3, held_out=0.2, evaluations=2, warmup=0.2)


def encoder_config(model: Path | str, **options: Any) -> EncoderConfig:
    """A tiny encoder with its settings said: cosine of means unless told otherwise."""
    return EncoderConfig(model=str(model), **({"pooling": "mean", "similarity": "cosine"} | options))


def opened(folder: Path, corpus: tiny.TinyCorpus, encoder: EncoderConfig, lang: str | None = None) -> Workspace:
    """A work folder on a tiny corpus."""
    return create_workspace(folder, [str(corpus.passages)], [str(corpus.queries)], encoder, lang)


def labelled(work: Workspace, number: int = 0, seed: int = 0, mining: MineConfig = MINE) -> Labels:
    """Mine a round and label it with random scores."""
    candidates = mine(work, mining, number)
    scores = np.random.default_rng(seed).normal(-2, 0.2, candidates.rows.shape).astype(np.float32)
    labels = Labels(candidates, scores, normalise(scores, 0.1))
    place = work.layout.round(number)
    labels.write(place.labels, work.passages)
    candidates_file = checksums(place.candidates)[place.candidates.name]
    write_manifest(place.labelled, "label", {"candidates": candidates_file}, {"files": checksums(place.labels), "pairs": int(scores.size)})
    return labels


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
