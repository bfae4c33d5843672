"""The state of an unfinished training: weights, moments of the optimiser, position. Safetensors and JSON, never pickled."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from umr.manifest import Files, checksums, read_manifest, require_same, require_whole, write_manifest
from umr.models.group import sharded_like, whole
from umr.storage import beside

STATE = "state.json"
BEGIN = "begin the training again with --force"


@dataclass
class History:
    """Where a training stands.

    Arguments:
        steps: finished steps.
        best_step: the step of the kept weights, -1 before the first validation.
        best_loss: its validation loss, nats a query.
        validation: [step, loss, share of queries with the labels' first passage first] of every validation.
        total: steps of the whole training.
        best: the file of the best weights, with its digest.
        merged: where weights were mixed, `share` of the trained ones and validation `loss` of the mix.
        temperature: what divides the similarities, where it was chosen here.
    """

    steps: int = 0
    best_step: int = -1
    best_loss: float = float("inf")
    validation: list[tuple[int, float, float]] = field(default_factory=list)
    total: int = 0
    best: Files = field(default_factory=dict)
    merged: dict[str, float] | None = None
    temperature: float | None = None


def weights_of(encoders: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The weights that are trained, by encoder and name."""
    named = ((f"{name}.{key}", value) for name, encoder in encoders.items() for key, value in encoder.named_parameters())
    return {name: value for name, value in named if value.requires_grad}


def _on_processor(tensors: Mapping[str, Tensor], leads: bool) -> dict[str, Tensor]:
    """Whole tensors in main memory; of processes that do not lead none, which only give their parts."""
    found = ((name, whole(value.detach())) for name, value in tensors.items())
    return {name: value.cpu() for name, value in found if leads}


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def save_best(folder: Path, trained: Mapping[str, Tensor], history: History, leads: bool = True) -> None:
    """Write the weights of the best step so far; the older ones stay until a state names these. Only the process that leads writes."""
    path, weights = folder / f"best-{history.best_step}.safetensors", _on_processor(trained, leads)
    if not leads:
        return
    with beside(path, _size(weights)) as temporary:
        save_file(weights, temporary)
    history.best = checksums(path)


def load_best(folder: Path, trained: Mapping[str, Tensor], history: History) -> None:
    """Put the weights of the best step in place.

    Raises:
        MismatchError: they are not those that were written.
    """
    require_whole(folder / STATE, {"files": history.best}, BEGIN)
    _load(trained, folder / next(iter(history.best)))


@torch.no_grad()
def _load(tensors: Mapping[str, Tensor], path: Path) -> None:
    saved = load_file(path)
    for name, value in tensors.items():
        value.copy_(sharded_like(saved[name], value))


def save_state(
    folder: Path,
    trained: Mapping[str, Tensor],
    optimiser: torch.optim.AdamW,
    averages: Mapping[str, Tensor],
    history: History,
    made_from: Mapping[str, Any],
    leads: bool = True,
) -> None:
    """Write everything that a training needs to go on; the manifest last, so that a torn state is never read.

    Arguments:
        folder: of the unfinished training.
        trained: the weights that are trained, by name.
        optimiser: AdamW over them.
        averages: of them over the steps; empty where none are kept.
        history: the position.
        made_from: the configuration, compared when it is read.
        leads: whether this process writes; the others give their parts of the weights.
    """
    state, moments = folder / f"state-{history.steps}", optimiser.state_dict()["state"]
    weights, means = _on_processor(trained, leads), _on_processor(averages, leads)
    tensors = _on_processor({f"{i}.{key}": value for i, values in moments.items() for key, value in values.items()}, leads)
    if not leads:
        return
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    with beside(state, _size(weights) + _size(tensors) + _size(means)) as temporary:
        temporary.mkdir()
        save_file(weights, temporary / "weights.safetensors")
        save_file(tensors, temporary / "optimiser.safetensors")
        if means:
            save_file(means, temporary / "averages.safetensors")
    position = {
        "steps": history.steps,
        "best_step": history.best_step if history.best_step >= 0 else None,
        "best_loss": history.best_loss if history.best_step >= 0 else None,
        "validation": history.validation,
        "total": history.total,
        "temperature": history.temperature,
        "files": checksums(*sorted(state.iterdir()), folder=folder) | history.best,
    }
    write_manifest(folder / STATE, "training", made_from, position)
    for old in (*folder.glob("state-*"), *folder.glob("best-*")):
        if old.name != state.name and old.name not in history.best:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def load_state(
    folder: Path,
    trained: Mapping[str, Tensor],
    optimiser: torch.optim.AdamW,
    averages: Mapping[str, Tensor],
    made_from: Mapping[str, Any],
) -> History:
    """Go on where an unfinished training stopped; a fresh history where there is none.

    Raises:
        MismatchError: it began with another configuration, or a file has changed since it was written.
    """
    manifest = folder / STATE
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
    require_whole(manifest, value, BEGIN)
    state = folder / f"state-{value['steps']}"
    _load(trained, state / "weights.safetensors")
    if averages:
        _load(averages, state / "averages.safetensors")
    _load_moments(optimiser, load_file(state / "optimiser.safetensors"))
    best = {name: written for name, written in value["files"].items() if name.startswith("best-")}
    validation = [(int(step), float(loss), float(first)) for step, loss, first in value["validation"]]
    history = History(value["steps"], validation=validation, total=value["total"], best=best, temperature=value.get("temperature"))
    if best:
        history.best_step, history.best_loss = value["best_step"], value["best_loss"]
    return history


def _load_moments(optimiser: torch.optim.AdamW, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = sharded_like(value, weights[int(index)]) if value.dim() else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
