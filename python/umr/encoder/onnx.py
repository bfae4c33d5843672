"""Encoders as ONNX models: token ids in, finished vectors out; by torch's own exporter, as optimum's takes no transformers 5."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from umr.config import EncoderConfig
from umr.encoder.encoder import DualEncoder, Encoder
from umr.encoder.load import load_encoder
from umr.encoder.means import Means
from umr.encoder.rows import Side
from umr.errors import InputError, MissingExtraError, ModelError
from umr.storage import beside, write_json

SETTINGS, MODEL = "umr_onnx.json", "model.onnx"
INPUTS = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}, "language": {0: "batch"}}  # axes that vary


class Finished(nn.Module):
    """The encoder of one side with what is done to its vectors afterwards: centring, whitening, length 1; nothing without means."""

    def __init__(self, encoder: Encoder, means: Means | None, side: Side) -> None:
        super().__init__()
        self.encoder, self.means = encoder, means
        self.table = None if means is None else torch.from_numpy(means.side(side).table)  # [G, d]
        self.whitening = None if means is None or means.whitening is None else torch.from_numpy(means.whitening)  # [d, d]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, language: Tensor | None = None) -> Tensor:
        """Vectors [n, d] of token ids [n, L] under a mask [n, L]; `language` [n] are rows of the means, without it the first."""
        vectors: Tensor = self.encoder(input_ids, attention_mask)
        if self.means is None or self.table is None:
            return vectors
        vectors = vectors - (self.table[:1] if language is None else self.table[language])
        vectors = vectors if self.whitening is None else vectors @ self.whitening
        return nn.functional.normalize(vectors, dim=-1) if self.means.normalise else vectors


def export_onnx(encoder: EncoderConfig | Path | str, out: Path | str) -> Path:
    """Write an encoder as ONNX models in float32, with its tokenizer and settings (docs/encoders.md has the files).

    Arguments:
        encoder: the folder of an encoder, or what else `load_encoder` takes.
        out: the folder that is written, whole or not at all.

    Returns:
        that folder.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        InputError: `out` is there already.
        ModelError: the encoder cannot be loaded, or torch cannot export a model of its kind.
        StorageError: the disk is full or the folder cannot be written.
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise MissingExtraError("writing ONNX models needs the packages onnx and onnxscript", "pip install 'umr[onnx]'")
    out = Path(out)
    if out.exists():
        raise InputError(f"{out} is there already, and is not written over", "give another folder")
    whole = load_encoder(encoder if isinstance(encoder, EncoderConfig) else str(encoder))
    record: dict[str, Any] = {"dimensions": whole.query.dimensions}
    with beside(out) as temporary:
        for side in get_args(Side):
            folder = "." if whole.tied and whole.means is None else side
            if not (temporary / folder).exists():
                _write_side(whole, side, temporary / folder)
            record[side] = {"folder": folder, "languages": _languages(whole.means, side), **asdict(whole.side(side).settings)}
        write_json(temporary / SETTINGS, record)
    return out


def _languages(means: Means | None, side: Side) -> list[str]:
    return ["", *means.side(side).langs] if means and means.centre == "language" else []  # the first row is the mean over all


def _write_side(whole: DualEncoder, side: Side, folder: Path) -> None:
    own, names = whole.side(side), list(INPUTS)[: 3 if _languages(whole.means, side) else 2]
    example = (torch.full((2, 8), own.pad), torch.ones(2, 8, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))[: len(names)]
    options: dict[str, Any] = {"input_names": names, "output_names": ["vectors"], "dynamic_shapes": {name: INPUTS[name] for name in names}}
    try:
        with _silent(), torch.inference_mode():
            own.tokenizer.save_pretrained(folder)
            made: Any = torch.onnx.export(Finished(own, whole.means, side).eval(), example, dynamo=True, verbose=False, **options)
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(f"torch cannot export a {type(own.model).__name__} ({type(error).__name__})", "choose another encoder") from error
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()  # paths on this machine
    made.save(folder / MODEL, external_data=True)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter's advice off the screen: torchvision that is missing, axes of one name, how it traced the model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.")
            yield
    finally:
        logging.disable(before)
