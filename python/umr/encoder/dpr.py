"""Encoders of DPR and of the paper's code: BERT inside other classes, and both sides in one checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from umr.errors import ModelError
from umr.models.loading import pretrained

SIDES = {"query": "question_model.", "passage": "ctx_model."}  # prefixes of the two encoders' weights


def load_dpr(folder: Path, config: Any, architecture: str) -> Any:
    """The BERT inside a DPR encoder as transformers saves it, as a model of its own that can be saved and loaded without DPR.

    Raises:
        ModelError: it is a reader, or projects its vectors.
    """
    import transformers

    if architecture not in ("DPRQuestionEncoder", "DPRContextEncoder"):
        raise ModelError(
            f"{folder} is a {architecture or 'DPR model of no named kind'}, not an encoder", "give a DPR question or context encoder"
        )
    if config.projection_dim:
        raise ModelError(
            f"{folder / 'config.json'}: projection_dim is {config.projection_dim}: a projection of its vectors, which umr does not compute",
            "choose an encoder whose projection_dim is 0",
        )
    whole = pretrained(folder, getattr(transformers, architecture), dtype=torch.float32)
    inside = (whole.question_encoder if hasattr(whole, "question_encoder") else whole.ctx_encoder).bert_model
    own = {key: value for key, value in inside.config.to_dict().items() if key not in ("model_type", "architectures", "projection_dim")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = transformers.BertModel(transformers.BertConfig(**own))
    model.float().load_state_dict(inside.state_dict(), strict=False)  # all but the pooler, which no vector uses
    return model


def read_checkpoint(path: Path) -> dict[str, dict[str, Tensor]]:
    """Both encoders of a checkpoint that the paper's code or DPR wrote (reference `model_utils.py` `CheckpointState`); nothing but
    tensors, numbers and words is read of it.

    Arguments:
        path: the file.

    Returns:
        query and passage: the weights of each by name.

    Raises:
        ModelError: it is no such file, or its vectors are projected.
    """
    hint = "give a file that the paper's training wrote, as dpr_biencoder.E.S"
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch raise almost anything
        raise ModelError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}", hint) from error
    weights = found.get("model_dict") if isinstance(found, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ModelError(f"{path} has no model_dict", hint)
    weights = {str(name).removeprefix("module."): value for name, value in weights.items()}
    if any(".encode_proj." in name for name in weights):
        raise ModelError(
            f"{path}: a projection of its vectors (encode_proj), which umr does not compute", "train it without projection_dim"
        )
    return {
        side: {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        for side, prefix in SIDES.items()
    }


def put_weights(path: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put one side's weights of a checkpoint into the model that its training began with.

    Raises:
        ModelError: they are not those of such a model.
    """
    hint = "set model to the one that the checkpoint was trained from, as --pretrained_model_cfg said"
    try:
        missing, unknown = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # sizes
        raise ModelError(f"{path}: an encoder is of other sizes than the model: {str(error).splitlines()[-1].strip()}", hint) from error
    left = [name for name in [*missing, *unknown] if "pooler" not in name and not name.endswith("position_ids")]
    if left:
        raise ModelError(f"{path}: an encoder and the model differ in {len(left)} weights (the first is {left[0]})", hint)
