"""What training leaves as it is, when it ends early, and how it mixes weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from train.rig import TRAIN, Notes, encoder_config
from umr.data.workspace import Workspace
from umr.encoder.load import load_encoder
from umr.errors import UsageError
from umr.manifest import read_manifest
from umr.train import checkpoint, loop, train

Begin = Callable[..., Workspace]


def weights(work: Workspace) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """All weights before and after round 0."""
    before = load_encoder(work.encoder).query.model.state_dict()
    return before, load_file(work.layout.round(0).encoder / "model.safetensors")


@pytest.mark.parametrize(("count", "frozen"), [(0, ("embeddings.",)), (1, ("embeddings.", "encoder.layer.0."))])
def test_embeddings_and_lower_layers_stay(begin: Begin, monkeypatch: pytest.MonkeyPatch, count: int, frozen: tuple[str, ...]) -> None:
    work, saved = begin(), list[dict[str, Any]]()
    real = checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", lambda tensors, path: (saved.append(tensors), real(tensors, path))[1])
    train(work, replace(TRAIN, freeze_layers=count))
    before, after = weights(work)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {name for name in after if not name.startswith((*frozen, "pooler"))}
    assert {name.removeprefix("encoder.model.") for name in saved[0]} >= changed
    assert not any(name.removeprefix("encoder.model.").startswith(frozen) for name in saved[0])


def test_more_layers_than_there_are_cannot_be_left(begin: Begin) -> None:
    with pytest.raises(UsageError, match="freeze_layers is 2, but the encoder has 2 layers"):
        train(begin(), replace(TRAIN, freeze_layers=2))


def test_training_ends_where_the_loss_gets_no_better(begin: Begin) -> None:
    work, notes = begin(), Notes()
    config = replace(TRAIN, learning_rate=0.05, epochs=20, warmup=0.0, patience=2, evaluations=1)
    train(work, config, reporter=notes)
    made = read_manifest(work.layout.round(0).trained, "train")
    assert made["steps"] < 20 * 3
    assert [step for step, *_ in made["validation"] if step > made["kept_step"]] == [made["steps"] - 3, made["steps"]]
    assert f"no better validation loss in 2 validations: ended at step {made['steps']}" in notes.text


def test_weights_are_mixed_in_the_share_of_the_best_validation(begin: Begin) -> None:
    plain, mixed, notes = begin("plain"), begin("mixed"), Notes()
    config = replace(TRAIN, learning_rate=0.005, keep="last", epochs=8, dropout=False)
    train(plain, config)
    train(mixed, replace(config, merge=True), reporter=notes)
    share = read_manifest(mixed.layout.round(0).trained, "train")["merged"]
    assert share in loop.MERGED
    assert share < 1, "the test needs a training that goes too far"
    before, after = weights(plain)
    for name, value in weights(mixed)[1].items():
        torch.testing.assert_close(value, torch.lerp(before[name], after[name], share), rtol=0, atol=1e-6)
    assert f"{share:g} of the trained weights" in notes.text
    assert read_manifest(plain.layout.round(0).trained, "train")["merged"] == 1


def test_a_training_of_before_an_option_is_finished(begin: Begin) -> None:
    import tiny

    work, notes = begin(), Notes()
    train(work, TRAIN)
    place = work.layout.round(0)
    made_from = read_manifest(place.trained, "train")["made_from"]
    tiny.change_manifest(place.trained, made_from={key: value for key, value in made_from.items() if key not in ("merge", "contrast")})
    train(work, TRAIN, reporter=notes)
    assert "is trained already" in notes.text


def test_held_out_queries_tell_how_many_passages_come_first_as_labelled(begin: Begin) -> None:
    work, notes = begin(), Notes()
    train(work, replace(TRAIN, false_negatives="mask"), reporter=notes)
    shares = [first for *_, first in read_manifest(work.layout.round(0).trained, "train")["validation"]]
    assert all(np.isclose(3 * share, round(3 * share)) for share in shares), "3 queries are held out"
    assert "likely false negatives a query left out" in notes.text


def test_the_config_of_a_decoder(tmp_path: Any) -> None:
    assert "layers" not in encoder_config("x").record()
    assert encoder_config("x", layers=3).record()["layers"] == 3
