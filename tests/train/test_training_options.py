"""What training leaves as it is, when it ends early, and how it mixes weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import tiny
import umr
from train.rig import MINE, TRAIN, Notes, encoder_config
from umr.config import TrainConfig
from umr.data.labels import labels_of
from umr.data.workspace import Workspace
from umr.encoder.load import load_encoder
from umr.errors import InputError, MismatchError, MissingExtraError, ModelError, UsageError
from umr.manifest import read_manifest
from umr.train import averages, checkpoint, train
from umr.train.averages import MovingAverage
from umr.train.card import push_to_hub
from umr.train.curve import Curve
from umr.train.distillation import TEMPERATURES
from umr.train.encoders import prepare
from umr.train.grad_cache import graph_bytes
from umr.train.loop import Training, begun
from umr.train.weights import optimiser_of, set_up

Begin = Callable[..., Workspace]


def weights(work: Workspace) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """All weights before and after round 0."""
    before = load_encoder(work.encoder).query.model.state_dict()
    return before, load_file(work.layout.round(0).encoder / "model.safetensors")


def begun_in(work: Workspace, config: TrainConfig) -> AbstractContextManager[Training]:
    """A training that stands before its first step."""
    encoders = prepare(work, load_encoder(work.encoder), config, MINE, Notes())
    return begun(encoders, labels_of(work.layout.round(0)), config, {}, work.layout.round(0).training, Notes())


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


def test_queries_whose_labels_say_least_are_left_out(begin: Begin) -> None:
    work, notes = begin(), Notes()
    scores = labels_of(work.layout.round(0)).scores
    usable = np.isfinite(scores).any(axis=1)
    train(work, replace(TRAIN, drop=0.5), reporter=notes)
    left = int(usable.sum()) - round(0.5 * int(usable.sum()))
    assert f"{left} of {usable.sum()} queries whose labels say least are left out (drop)" in notes.text


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
    merged = read_manifest(mixed.layout.round(0).trained, "train")["merged"]
    share = merged["share"]
    assert share in averages.MERGED
    assert f"{merged['loss']:.4f} with {share:g}" in notes.text
    assert merged["loss"] < read_manifest(mixed.layout.round(0).trained, "train")["validation"][-1][1]
    assert share < 1, "the test needs a training that goes too far"
    before, after = weights(plain)
    for name, value in weights(mixed)[1].items():
        torch.testing.assert_close(value, torch.lerp(before[name], after[name], share), rtol=0, atol=1e-6)
    assert f"{share:g} of the trained weights" in notes.text
    assert read_manifest(plain.layout.round(0).trained, "train")["merged"] is None


class Remembering:
    """A tracker of the user."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.told.append((step, dict(values)))

    def finish(self) -> None:
        self.finished += 1


def test_the_course_is_kept_and_told(begin: Begin) -> None:
    work, tracker = begin(), Remembering()
    train(work, TRAIN, trackers=[tracker])
    place = work.layout.round(0)
    lines = [json.loads(line) for line in (place.encoder / "curve.jsonl").read_text().splitlines()]
    assert [(line.pop("step"), line) for line in lines] == tracker.told
    assert [step for step, values in tracker.told if "loss" in values] == list(range(1, 7))
    losses = [[step, values["validation_loss"]] for step, values in tracker.told if "validation_loss" in values]
    assert losses == [[step, loss] for step, loss, _ in read_manifest(place.trained, "train")["validation"]]
    assert tracker.finished == 1
    assert "encoder/curve.jsonl" in read_manifest(place.trained, "train")["files"]


def test_lines_after_the_state_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text('{"step": 0, "x": 1}\n{"step": 4, "x": 1}\n{"step": 5, "x": 1}\n{"step": 6, "x"')
    Curve(path, 4).log({"x": 2.5}, 5)
    assert path.read_text() == '{"step": 0, "x": 1}\n{"step": 4, "x": 1}\n{"step": 5, "x": 2.5}\n'
    Curve(path, 0)
    assert path.read_text() == ""


def test_a_tracker_is_named(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run, begun_with = Remembering(), dict[str, Any]()
    module = SimpleNamespace(init=lambda **options: (begun_with.update(options), run)[1])
    monkeypatch.setitem(sys.modules, "trackio", module)
    train(begin("tracked"), replace(TRAIN, track="trackio"))
    assert begun_with["project"] == "umr"
    assert begun_with["config"]["epochs"] == TRAIN.epochs
    assert len(run.told) > TRAIN.epochs
    assert run.finished == 1
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match="track is wandb") as caught:
        train(begin("lacking"), replace(TRAIN, track="wandb"))
    assert "pip install wandb" in caught.value.hint


def test_a_training_of_before_an_option_is_finished(begin: Begin) -> None:
    work, notes = begin(), Notes()
    train(work, TRAIN)
    place = work.layout.round(0)
    made_from = read_manifest(place.trained, "train")["made_from"]
    tiny.change_manifest(place.trained, made_from={key: value for key, value in made_from.items() if key not in ("merge", "contrast")})
    train(work, TRAIN, reporter=notes)
    assert "is trained already" in notes.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"merge": True, "held_out": 0.0}, "merge is True, but no queries are held out"),
        ({"patience": 3, "held_out": 0.0}, "patience is 3, but no queries are held out"),
        ({"false_negatives": "mask", "negatives": "own"}, "no loss looks at passages without a label"),
        ({"false_negatives": "mask", "objective": "margin-mse"}, "no loss looks at passages without a label"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TrainConfig(**options)
    TrainConfig(false_negatives="mask", objective="margin-mse", contrast=0.1)


def test_a_validation_masks_nothing(begin: Begin) -> None:
    """The loss before any step is the same, whatever the training leaves out."""
    losses = []
    for name in ("keep", "mask"):
        work = begin(name)
        train(work, replace(TRAIN, false_negatives=name, duplicates="keep", held_out=0.5))
        losses.append(read_manifest(work.layout.round(0).trained, "train")["validation"][0])
        lines = (work.layout.round(0).encoder / "curve.jsonl").read_text().splitlines()
        assert json.loads(lines[0])["likely_false_negatives"] > 0, "the test needs some"
    assert losses[0] == losses[1]


def test_held_out_queries_tell_how_many_passages_come_first_as_labelled(begin: Begin) -> None:
    work, notes = begin(), Notes()
    train(work, replace(TRAIN, false_negatives="mask"), reporter=notes)
    shares = [first for *_, first in read_manifest(work.layout.round(0).trained, "train")["validation"]]
    assert all(np.isclose(3 * share, round(3 * share)) for share in shares), "3 queries are held out"
    assert "likely false negatives a query left out" in notes.text


def test_the_config_of_a_decoder(tmp_path: Any) -> None:
    assert "layers" not in encoder_config("x").record()
    assert encoder_config("x", layers=3).record()["layers"] == 3


def test_the_encoders_folder_has_a_card(begin: Begin) -> None:
    work = begin()
    train(work, TRAIN)
    text = (work.layout.round(0).encoder / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "sentence-transformers"
    assert set(front["language"]) == set(work.queries.langs)
    for fact in (
        Path(work.encoder.model).name,
        work.passages.fingerprint[:16],
        work.queries.records.fingerprint[:16],
        "epochs 2",
        "validation loss",
    ):
        assert fact in text
    assert str(Path(work.encoder.model).parent) not in text, "no path of a machine"
    assert "Trained without a labelled pair" not in text, "no language model is known to have made these labels"
    tiny.change_manifest(work.layout.round(0).labelled, lm="some/lm")
    train(work, TRAIN, force=True)
    text = (work.layout.round(0).encoder / "README.md").read_text(encoding="utf-8")
    assert "Trained without a labelled pair" in text
    assert "some/lm" in text


@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}, {"freeze_layers": 1}], ids=["all", "recomputed", "upper"])
def test_adapters_are_trained_and_end_in_the_weights(begin: Begin, options: dict[str, Any]) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft: pip install 'umr[lora]'")
    work = begin()
    train(work, replace(TRAIN, lora_rank=2, learning_rate=0.01, **options))
    before, after = weights(work)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.endswith("weight") and before[name].dim() == 2 and "embeddings" not in name for name in changed)
    for name in changed:
        assert torch.linalg.matrix_rank((after[name] - before[name]).double(), rtol=1e-4) <= 2
    assert set(after) == set(before), "what is saved is a model without adapters"
    assert any("layer.0." in name for name in changed) == ("freeze_layers" not in options)


def test_adapters_need_their_package(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="lora_rank is 4") as caught:
        train(begin(), replace(TRAIN, lora_rank=4))
    assert "umr[lora]" in caught.value.hint


def test_mixed_adapters_are_a_share_of_what_they_learned(begin: Begin) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft: pip install 'umr[lora]'")
    config = replace(TRAIN, lora_rank=2, learning_rate=0.05, keep="last", epochs=8, dropout=False)
    plain, mixed = begin("plain"), begin("mixed")
    train(plain, config)
    train(mixed, replace(config, merge=True))
    share = read_manifest(mixed.layout.round(0).trained, "train")["merged"]["share"]
    assert share < 1, "the test needs a training that goes too far"
    before, after = weights(plain)
    for name, value in weights(mixed)[1].items():
        torch.testing.assert_close(value, torch.lerp(before[name], after[name], share), rtol=1e-4, atol=1e-5)


def test_recomputed_layers_give_the_same_training(begin: Begin) -> None:
    plain, recomputed = begin("plain"), begin("recomputed")
    train(plain, TRAIN)
    train(recomputed, replace(TRAIN, gradient_checkpointing=True))
    kept = weights(plain)[1]
    for name, value in weights(recomputed)[1].items():
        torch.testing.assert_close(value, kept[name], rtol=1e-5, atol=1e-6)


def test_recomputed_layers_keep_less(bert: Path) -> None:
    encoder = load_encoder(encoder_config(bert)).query
    before = graph_bytes(encoder, 64, "fp32")
    set_up(encoder, TrainConfig(gradient_checkpointing=True))
    assert graph_bytes(encoder, 64, "fp32") < before / 2


def test_lower_layers_learn_more_slowly(bert: Path) -> None:
    encoder = load_encoder(encoder_config(bert)).query
    optimiser = optimiser_of([encoder], TrainConfig(layer_decay=0.5, weight_decay=0.1))
    scales = {id(p): (group["scale"], group["weight_decay"]) for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in encoder.model.named_parameters():
        scale = 0.25 if name.startswith("embeddings.") else 0.5 if name.startswith("encoder.layer.0.") else 1.0
        assert scales[id(parameter)] == (scale, 0.1 if parameter.dim() > 1 else 0.0)
    assert len(scales) == len(list(encoder.parameters()))


def test_the_rate_of_a_layer_counts(begin: Begin) -> None:
    """With next to no rate below the last layer, only that one moves."""
    work = begin()
    train(work, replace(TRAIN, layer_decay=1e-6))
    before, after = weights(work)
    for name in after:
        moved = float((after[name] - before[name]).abs().max())
        if name.startswith(("embeddings.", "encoder.layer.0.")):
            assert moved < 1e-6
    assert any(float((after[name] - before[name]).abs().max()) > 1e-4 for name in after if name.startswith("encoder.layer.1."))


def test_a_moving_average_is_the_slow_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, 2, generator=generator))
    average, slow = MovingAverage({"w": weight}, 0.5), weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            weight.copy_(torch.randn(3, 2, generator=generator))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        slow = decay * slow + (1 - decay) * weight.detach()
    torch.testing.assert_close(average.values["w"], slow)
    held = weight.detach().clone()
    with average.in_place():
        assert torch.equal(weight, average.values["w"])
    assert torch.equal(weight, held)
    assert MovingAverage({"w": weight}, 0.0).values == {}


def test_the_average_is_what_is_saved(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the weights after each step, by its definition."""
    work, slow, real = begin(), dict[str, torch.Tensor](), MovingAverage.update

    def watched(average: MovingAverage, steps: int) -> None:
        real(average, steps)
        decay = min(0.9, (1 + steps) / (10 + steps))
        for name, value in average.weights.items():
            before = slow.get(name, first[name])
            slow[name] = decay * before + (1 - decay) * value.detach()

    first = {f"encoder.model.{name}": value for name, value in load_encoder(work.encoder).query.model.state_dict().items()}
    monkeypatch.setattr(MovingAverage, "update", watched)
    train(work, replace(TRAIN, keep="last", ema=0.9))
    saved = weights(work)[1]
    assert {name.removeprefix("encoder.model.") for name in slow} == set(saved)
    for name, value in slow.items():
        torch.testing.assert_close(saved[name.removeprefix("encoder.model.")], value)


def test_trainings_are_averaged(begin: Begin, tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1, 2):
        work = begin(f"seed-{seed}")
        folders.append(train(work, replace(TRAIN, seed=seed)))
    made = umr.average_encoders(folders, tmp_path / "average")
    held = [load_file(folder / "model.safetensors") for folder in folders]
    for name, value in load_file(made / "model.safetensors").items():
        torch.testing.assert_close(value, sum(weights[name] for weights in held) / 3, rtol=1e-6, atol=1e-7)
    assert load_encoder(str(made)).query.settings == load_encoder(str(folders[0])).query.settings
    with pytest.raises(InputError, match="is there already"):
        umr.average_encoders(folders, made)
    with pytest.raises(UsageError, match="1 encoders are given"):
        umr.average_encoders(folders[:1], tmp_path / "one")
    untied = train(begin("untied"), replace(TRAIN, untie=True))
    with pytest.raises(MismatchError, match="differ in their tied sides"):
        umr.average_encoders([folders[0], untied], tmp_path / "other")


def test_an_encoder_is_put_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    hub = SimpleNamespace(
        upload_folder=lambda **options: (asked.append(("", options)), "https://hub/me/mine")[1],
    )
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    assert push_to_hub(tmp_path, "me/mine") == "https://hub/me/mine"
    assert (asked[0][1]["repo_id"], asked[0][1]["folder_path"]) == ("me/mine", tmp_path)

    def refuse(**_: Any) -> None:
        raise OSError("no way\nto the hub")

    hub.upload_folder = refuse
    with pytest.raises(ModelError, match="is trained, but is not on the hub as me/mine: no way") as caught:
        push_to_hub(tmp_path, "me/mine")
    assert "hf upload me/mine" in caught.value.hint


def test_a_sharp_temperature_is_said(begin: Begin) -> None:
    for name, temperature, said in (("sharp", 1e-5, True), ("usual", 1.0, False)):
        notes = Notes()
        train(begin(name), replace(TRAIN, student_temperature=temperature, learning_rate=1e-6), reporter=notes)
        assert ("leave little to learn from" in "".join(notes.warned)) is said


@pytest.mark.parametrize("options", [{}, {"held_out": 0.0}, {"objective": "margin-mse"}], ids=["held-out", "none-held-out", "margins"])
def test_cosines_are_divided_by_what_makes_the_untrained_loss_least(begin: Begin, options: dict[str, Any]) -> None:
    config, losses = replace(TRAIN, epochs=1, **options), dict[float, float]()
    for temperature in TEMPERATURES:
        work = begin(f"{temperature:g}")
        with begun_in(work, replace(config, student_temperature=temperature)) as training:
            rows = np.random.default_rng(config.seed).permutation([*training.split.training, *training.split.held_out])
            losses[temperature] = training.objective.validation(training.labels, rows).loss
    work, notes = begin("chosen"), Notes()
    train(work, config, reporter=notes)
    chosen = read_manifest(work.layout.round(0).trained, "train")["temperature"]
    assert chosen == min(losses, key=lambda temperature: losses[temperature])
    assert f"similarities divided by {chosen:g}" in notes.text


def test_a_temperature_that_the_user_gives_is_taken(begin: Begin) -> None:
    work, notes = begin(), Notes()
    train(work, replace(TRAIN, student_temperature=0.5), reporter=notes)
    assert "temperature" not in read_manifest(work.layout.round(0).trained, "train")
    assert "similarities divided by 0.5" in notes.text
