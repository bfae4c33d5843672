"""Trained encoders as folders that sentence-transformers and transformers load as they are.

The layout is that of sentence-transformers up to 5.3, which every version to 6.x, text-embeddings-inference and vLLM read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from umr.encoder.encoder import DualEncoder, Encoder
from umr.encoder.settings import FILE
from umr.models.loading import quietly
from umr.storage import beside

FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}


def save_encoder(encoder: DualEncoder, folder: Path) -> None:
    """Write an encoder: one folder when tied, `query/` and `passage/` when not, each loadable alone.

    Arguments:
        encoder: what to save.
        folder: appears whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with beside(folder) as temporary:
        if encoder.tied:
            settings = encoder.query.settings
            _save_tower(encoder.query, temporary, max(settings.query_length, settings.passage_length))
        else:
            for side in ("query", "passage"):
                tower = encoder.tower(side)
                length = tower.settings.query_length if side == "query" else tower.settings.passage_length
                _save_tower(tower, temporary / side, length)


def _save_tower(encoder: Encoder, folder: Path, length: int) -> None:
    folder.mkdir(parents=True)
    with quietly():
        encoder.model.save_pretrained(folder)  # type: ignore[operator]
        encoder.tokenizer.save_pretrained(folder)
    for name, value in _sentence_transformers_files(encoder, length).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sentence_transformers_files(encoder: Encoder, length: int) -> dict[str, Any]:
    s = encoder.settings
    kinds = ["Transformer", "Pooling"] + (["Normalize"] if s.similarity == "cosine" else [])
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": "" if i == 0 else f"{i}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    flags = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    pooling = {"word_embedding_dimension": encoder.dimensions} | {f"pooling_mode_{f}": f == FLAGS[s.pooling] for f in flags}
    prompts = {"query": s.query_prefix, "passage": s.passage_prefix}
    files: dict[str, Any] = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling | {"include_prompt": True},
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": s.similarity,
        },
        FILE: s.to_json(),
    }
    return files
