"""Trained encoders as folders that sentence-transformers and transformers load as they are.

The layout is that of sentence-transformers up to 5.3, which every version to 6.x, text-embeddings-inference and vLLM read.
An encoder that is centred with one mean a side becomes two folders, each with a Dense layer whose bias is the mean, negated.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.encoder.encoder import MEANS, TIED, DualEncoder, Encoder
from umr.encoder.means import Means, write_means
from umr.encoder.rows import Side
from umr.encoder.settings import FILE
from umr.models.loading import quietly
from umr.storage import beside

FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}

Dense = dict[str, NDArray[np.float32]]


def save_encoder(encoder: DualEncoder, folder: Path) -> None:
    """Write an encoder: one folder when both sides are the same, `query/` and `passage/` when not, each loadable alone.

    Arguments:
        encoder: what to save. With global means the sides differ, and other libraries give centred vectors; means by
            language are kept for umr alone, other libraries give the vectors before centring. Sides of two lengths differ
            too: the files that every version of sentence-transformers reads have one.
        folder: appears whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    one_mean = encoder.means is not None and encoder.means.centre == "global"
    with beside(folder) as temporary:
        lengths = {"query": encoder.query.settings.query_length, "passage": encoder.passage.settings.passage_length}
        if encoder.tied and not one_mean and lengths["query"] == lengths["passage"]:
            _save_side(encoder, encoder.query, temporary, lengths["query"])
            return
        for side in ("query", "passage"):
            dense = _dense(encoder.means, side) if encoder.means and one_mean else None
            _save_side(encoder, encoder.side(side), temporary / side, lengths[side], dense, encoder.tied)


def _dense(means: Means, side: Side) -> Dense:
    """The layer that centres: W (x - m) = W x - W m, W the whitening or the identity."""
    mean = means.side(side).table[0]
    weight = np.eye(len(mean), dtype=np.float32) if means.whitening is None else means.whitening
    return {"linear.weight": weight, "linear.bias": -(weight @ mean)}


def _save_side(whole: DualEncoder, encoder: Encoder, folder: Path, length: int, dense: Dense | None = None, halved: bool = False) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    with quietly():
        encoder.model.save_pretrained(folder)  # type: ignore[operator]
        encoder.tokenizer.save_pretrained(folder)
    settings = asdict(encoder.settings) | ({TIED: True} if halved else {})
    for name, value in (_sentence_transformers_files(encoder, length, dense is not None) | {FILE: settings}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if dense is not None:
        save_file(dense, next(folder.glob("*_Dense")) / "model.safetensors", {"format": "pt"})
    if whole.means is not None:
        write_means(folder / MEANS, whole.means)


def _modules(encoder: Encoder, centred: bool) -> list[dict[str, Any]]:
    length = ["Normalize"] if encoder.settings.similarity == "cosine" else []
    kinds = ["Transformer", "Pooling", *length, *(["Dense", *length] if centred else [])]
    return [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]


def _sentence_transformers_files(encoder: Encoder, length: int, centred: bool) -> dict[str, Any]:
    s, d = encoder.settings, encoder.dimensions
    modules = _modules(encoder, centred)
    flags = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    pooling = {"word_embedding_dimension": d} | {f"pooling_mode_{f}": f == FLAGS[s.pooling] for f in flags}
    dense = {"in_features": d, "out_features": d, "bias": True, "activation_function": "torch.nn.modules.linear.Identity"}
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling | {"include_prompt": True},
        **{f"{module['path']}/config.json": dense for module in modules if module["path"].endswith("_Dense")},
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        "config_sentence_transformers.json": {
            # From 5.0 on `encode_document` looks for "document" first, and finds an empty one where none is written.
            "prompts": {"query": s.query_prefix, "document": s.passage_prefix, "passage": s.passage_prefix},
            "default_prompt_name": None,
            "similarity_fn_name": s.similarity,
        },
    }
