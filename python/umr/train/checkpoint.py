"""The state of an unfinished training: weights, moments of the optimiser, position. Safetensors and JSON, never pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from umr.manifest import read_manifest, require_same, write_manifest
from umr.storage import beside


@dataclass
class History:
    """Where a training stands.

    Arguments:
        steps: finished steps.
        best_step: the step of the kept weights, -1 before the first validation.
        best_loss: its validation loss, nats a query.
        validation: [step, loss] of every validation.
        total: steps of the whole training.
    """

    steps: int = 0
    best_step: int = -1
    best_loss: float = float("inf")
    validation: list[tuple[int, float]] = field(default_factory=list)
    total: int = 0


def _weights(encoders: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value.detach().cpu() for name, encoder in encoders.items() for key, value in encoder.named_parameters()}


def save_weights(encoders: Mapping[str, nn.Module], path: Path) -> None:
    """Write the weights of the trained encoders as one safetensors file."""
    weights = _weights(encoders)
    with beside(path, _size(weights)) as temporary:
        save_file(weights, temporary)


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


@torch.no_grad()
def load_weights(encoders: Mapping[str, nn.Module], path: Path) -> None:
    """Put saved weights back into the encoders."""
    saved = load_file(path)
    for name, encoder in encoders.items():
        for key, parameter in encoder.named_parameters():
            parameter.copy_(saved[f"{name}.{key}"])


def save_state(
    folder: Path,
    encoders: Mapping[str, nn.Module],
    optimiser: torch.optim.AdamW,
    history: History,
    made_from: Mapping[str, Any],
) -> None:
    """Write everything that a training needs to go on; the manifest last, so that a torn state is never read.

    Arguments:
        folder: of the unfinished training.
        encoders: the trained encoders by name.
        optimiser: AdamW over their weights, in order.
        history: the position.
        made_from: the configuration, compared when it is read.
    """
    state, weights, moments = folder / f"state-{history.steps}", _weights(encoders), optimiser.state_dict()["state"]
    tensors = {f"{i}.{key}": value.cpu().contiguous() for i, values in moments.items() for key, value in values.items()}
    with beside(state, _size(weights) + _size(tensors)) as temporary:
        temporary.mkdir()
        save_file(weights, temporary / "weights.safetensors")
        save_file(tensors, temporary / "optimiser.safetensors")
    position = {
        **asdict(history),
        "best_loss": history.best_loss if history.best_step >= 0 else None,
        "state": state.name,
    }
    write_manifest(folder / "state.json", "training", made_from, position)
    _remove_others(folder, state.name)


def _remove_others(folder: Path, keep: str) -> None:
    import shutil

    for old in folder.glob("state-*"):
        if old.name != keep:
            shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path, encoders: Mapping[str, nn.Module], optimiser: torch.optim.AdamW, made_from: Mapping[str, Any]) -> History:
    """Go on where an unfinished training stopped; a fresh history where there is none.

    Raises:
        MismatchError: it began with another configuration.
    """
    manifest = folder / "state.json"
    if not manifest.exists():
        return History()
    value = read_manifest(manifest, "training")
    require_same(
        manifest,
        "the training began",
        value["made_from"],
        made_from,
        "leave the options as they were, or begin again with --force",
    )
    state = folder / value["state"]
    load_weights(encoders, state / "weights.safetensors")
    _load_moments(optimiser, load_file(state / "optimiser.safetensors"))
    best = float("inf") if value["best_loss"] is None else value["best_loss"]
    return History(value["steps"], value["best_step"], best, [(int(s), float(v)) for s, v in value["validation"]])


def _load_moments(optimiser: torch.optim.AdamW, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
