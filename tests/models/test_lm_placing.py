"""Where a language model goes: one GPU, or layer by layer all that are there, where one has no room for it. The GPUs are pretended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch

import tiny
from umr.errors import ModelError
from umr.models import lm as module
from umr.models.lm import find_lm, load_lm
from umr.progress import Silent

GPU = torch.device("cuda")


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done with a model: the device that it went to, or the places of its parts."""
    found: list[Any] = []
    monkeypatch.setattr(accelerate, "dispatch_model", lambda model, places: found.append(places) or model)
    monkeypatch.setattr(torch.nn.Module, "to", lambda model, device: found.append(device) or model)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return found


def room(monkeypatch: pytest.MonkeyPatch, folder: Path, share: float) -> Any:
    """A model, and GPUs that have room for a share of its weights each."""
    lm = find_lm(str(tiny.gemma3(folder / "lm")), Silent())
    size = sum(p.numel() * p.element_size() for p in load_lm(lm, "fp32", torch.device("cpu")).model.parameters())
    monkeypatch.setattr(module, "free_memory", lambda device: int(size * share / module.ROOM))
    return lm


def test_a_model_that_one_gpu_holds_goes_there(placed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = room(monkeypatch, tmp_path, 1.1)
    load_lm(lm, "fp32", GPU)
    assert placed[-1] == GPU


def test_a_model_that_one_gpu_does_not_hold_goes_on_all(placed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = room(monkeypatch, tmp_path, 0.8)
    load_lm(lm, "fp32", GPU)
    assert set(placed[-1].values()) == {0, 1}
    assert not [part for part in placed[-1] if part.count(".") > 2], "no layer is split"


def test_a_gpu_that_was_named_gets_all_of_it(placed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = room(monkeypatch, tmp_path, 0.8)
    load_lm(lm, "fp32", torch.device("cuda:1"))
    assert placed[-1] == torch.device("cuda:1")


def test_a_model_that_no_gpus_hold_is_refused(placed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = room(monkeypatch, tmp_path, 0.2)
    with pytest.raises(ModelError, match=r"GB of weights, the 2 GPUs have room for"):
        load_lm(lm, "fp32", GPU)
