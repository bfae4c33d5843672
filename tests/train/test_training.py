"""The training stage: restarts, Ctrl-C, what is frozen, what is kept, and what is refused."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from train.rig import MINE, TRAIN, Notes, contents
from umr.config import TrainConfig
from umr.data.workspace import Workspace, open_workspace
from umr.encoder.load import load_encoder
from umr.errors import Interrupted, MismatchError, ScoreError, StorageError
from umr.manifest import read_manifest
from umr.mine import mine
from umr.train import checkpoint, loop, train
from umr.train.distillation import BatchInputs, Objective
from umr.train.loop import learning_rate

Begin = Callable[..., Workspace]
STEPS = 6  # 17 queries, 3 held out, batches of 4, 2 epochs


def outcome(work: Workspace, number: int = 0) -> dict[str, bytes]:
    """What training leaves: the encoder's files and the manifest."""
    place = work.layout.round(number)
    return contents(place.encoder) | {"train.json": place.trained.read_bytes()}


@pytest.fixture(scope="module")
def unbroken(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outcome of TRAIN in one go."""
    import shutil

    work = open_workspace(Path(shutil.copytree(ready, tmp_path_factory.mktemp("unbroken") / "work")))
    train(work, TRAIN)
    assert read_manifest(work.layout.round(0).trained, "train")["steps"] == STEPS
    return outcome(work)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], Any]) -> None:
    """Do something before the given step is taken, once."""
    real = Objective.backward

    def watched(objective: Objective, inputs: BatchInputs) -> Tensor:
        if inputs.step == step:
            monkeypatch.setattr(Objective, "backward", real)
            action()
        return real(objective, inputs)

    monkeypatch.setattr(Objective, "backward", watched)


def die() -> None:
    raise Killed


@pytest.mark.parametrize("step", [0, 1, 3, STEPS - 1])
def test_a_killed_training_ends_with_the_bytes_of_an_unbroken_one(
    begin: Begin, unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    work, notes = begin(), Notes()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    stop_before(monkeypatch, step, die)
    with pytest.raises(Killed):
        train(work, TRAIN)
    assert not work.layout.round(0).trained.exists()
    if step:  # what divides the similarities is not chosen again, by an encoder that is trained by then
        monkeypatch.setattr(Objective, "calibrated", lambda *_: die())
    train(work, TRAIN, reporter=notes)
    assert (f"going on from step {step}" in notes.text) == (step > 0)
    assert outcome(work) == unbroken
    assert not work.layout.round(0).training.exists()


@pytest.mark.parametrize("options", [{"ema": 0.9, "layer_decay": 0.9}, {"lora_rank": 2}], ids=["average", "adapters"])
def test_a_killed_training_of_other_weights_ends_with_the_same_bytes(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    if "lora_rank" in options:
        pytest.importorskip("peft", reason="LoRA needs peft: pip install 'umr[lora]'")
    whole, work = begin("whole"), begin("killed")
    train(whole, replace(TRAIN, **options))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    stop_before(monkeypatch, 3, die)
    with pytest.raises(Killed):
        train(work, replace(TRAIN, **options))
    train(work, replace(TRAIN, **options))
    assert outcome(work) == outcome(whole)


def test_killed_while_the_state_is_written_goes_on_from_the_state_before(
    begin: Begin, unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, notes = begin(), Notes()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    real, written = checkpoint.write_manifest, []

    def torn(*arguments: Any) -> None:
        written.append(1)
        if len(written) == 3:
            die()
        real(*arguments)

    monkeypatch.setattr(checkpoint, "write_manifest", torn)
    with pytest.raises(Killed):
        train(work, TRAIN)
    train(work, TRAIN, reporter=notes)
    assert "going on from step 2" in notes.text
    assert outcome(work) == unbroken


SIGKILL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from train.rig import TRAIN
from umr.data.workspace import open_workspace
from umr.train import loop, train
from umr.train.distillation import Objective
loop.CHECKPOINT_SECONDS = -1.0
real = Objective.backward
def watched(objective, inputs):
    if inputs.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(objective, inputs)
Objective.backward = watched
train(open_workspace(Path({work!r})), TRAIN)
"""


def test_sigkill_loses_nothing(begin: Begin, unbroken: dict[str, bytes]) -> None:
    work = begin()
    script = SIGKILL.format(tests=str(Path(__file__).parents[1]), work=str(work.layout.folder))
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    train(work, TRAIN)
    assert outcome(work) == unbroken


@pytest.fixture
def heeded() -> Iterator[None]:
    """No signal is ignored, as a shell's background job would inherit it."""
    before = [(n, signal.signal(n, signal.default_int_handler)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 2), (signal.SIGINT, STEPS - 1), (signal.SIGTERM, 3), (signal.SIGHUP, 1)])
def test_a_signal_finishes_the_step_and_saves(
    begin: Begin, unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, number: signal.Signals, step: int
) -> None:
    work, notes = begin(), Notes()
    stop_before(monkeypatch, step, lambda: signal.raise_signal(number))
    with pytest.raises(Interrupted) as caught:
        train(work, TRAIN, reporter=notes)
    assert caught.value.signal == number
    assert signal.getsignal(number) is signal.default_int_handler
    assert "finishing this step" in notes.text
    state = read_manifest(work.layout.round(0).training / "state.json", "training")
    assert state["steps"] == step + 1
    train(work, TRAIN)
    assert outcome(work) == unbroken


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_twice_stops_at_once(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    work = begin()
    stop_before(monkeypatch, 2, twice)
    with pytest.raises(KeyboardInterrupt):
        train(work, TRAIN)
    assert not (work.layout.round(0).training / "state.json").exists()


def test_a_signal_that_is_ignored_stays_ignored(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `nohup` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop_before(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGHUP))
        assert train(begin(), TRAIN).exists()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("file", ["best-", "state-1"])
def test_a_full_disk_is_told_with_the_path_and_the_room(begin: Begin, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """The library that writes weights knows no error of the system: it puts it in words."""
    work, real = begin(), checkpoint.save_file

    def full(tensors: Any, path: Path) -> None:
        if file in str(path):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        real(tensors, path)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(
            StorageError, match=rf"no space left on the device while writing .*{file}[^:]*: [\d.,]+ MB free, 0\.\d MB needed"
        ):
            train(work, TRAIN)
    assert not list(work.layout.folder.rglob("*.part"))
    train(work, TRAIN)


def test_two_trainings_are_bitwise_equal_and_another_seed_differs(begin: Begin, unbroken: dict[str, bytes]) -> None:
    again, other = begin("again"), begin("other")
    train(again, TRAIN)
    assert outcome(again) == unbroken
    train(other, replace(TRAIN, seed=1))
    assert outcome(other)["model.safetensors"] != unbroken["model.safetensors"]


def test_training_again_does_nothing_and_other_options_are_refused(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    work = begin()
    train(work, TRAIN)
    made = outcome(work)
    stop_before(monkeypatch, 0, die)
    assert train(work, replace(TRAIN, chunk_tokens=64, device="cpu")) == work.layout.round(0).encoder
    with pytest.raises(MismatchError, match=r"epochs is 2, asked for 3") as caught:
        train(work, replace(TRAIN, epochs=3))
    assert "--force" in caught.value.hint
    assert outcome(work) == made
    with pytest.raises(Killed):
        train(work, TRAIN, force=True)


def test_an_unfinished_training_is_not_continued_with_other_options(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    work = begin()
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    stop_before(monkeypatch, 2, die)
    with pytest.raises(Killed):
        train(work, TRAIN)
    with pytest.raises(MismatchError, match=r"learning_rate is 0.001, asked for 0.002"):
        train(work, replace(TRAIN, learning_rate=2e-3))
    train(work, replace(TRAIN, learning_rate=2e-3), force=True)


def test_other_labels_make_another_training(begin: Begin) -> None:
    from train.rig import labelled

    work = begin()
    train(work, TRAIN)
    labelled(work, seed=5)
    with pytest.raises(MismatchError, match="labels is"):
        train(work, TRAIN)


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    config = TrainConfig(learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(step, 10, config) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    assert learning_rate(0, 5, TrainConfig(learning_rate=1.0, warmup=0.0)) == 1.0
    assert all(rate > 0 for rate in rates)


def test_the_schedule_is_what_the_optimiser_gets(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    real = torch.optim.AdamW.step

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return real(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    train(begin(), TRAIN)
    assert rates == pytest.approx([learning_rate(s, STEPS, TRAIN) for s in range(STEPS)])


def test_gradients_are_clipped_to_the_norm(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    real = torch.optim.AdamW.step

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in grads]).norm()))
        return real(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    train(begin(), replace(TRAIN, clip=1e-3))
    assert norms == pytest.approx([1e-3] * STEPS, rel=1e-2)


def test_the_best_weights_of_the_validation_are_kept(begin: Begin) -> None:
    """A rate this high makes the loss rise and fall: the best step is not the last."""
    config = replace(TRAIN, learning_rate=0.02, epochs=4, dropout=False)
    best, last = begin("best"), begin("last")
    train(best, config)
    made = read_manifest(best.layout.round(0).trained, "train")
    train(last, replace(config, keep="last"))
    losses = {step: loss for step, loss, _ in made["validation"]}
    steps = 4 * 3
    assert list(losses) == list(range(steps + 1))
    assert made["steps"] == steps
    assert made["kept_step"] == min((s for s in losses if s), key=lambda s: losses[s])
    assert made["kept_step"] != steps, "the test needs a loss that rises in the end"
    assert outcome(best)["model.safetensors"] != outcome(last)["model.safetensors"]
    shorter = begin("shorter")
    stopped_at(shorter, replace(config, keep="last"), made["kept_step"])
    weights = load_file(best.layout.round(0).encoder / "model.safetensors")
    held = load_file(shorter.layout.folder / "held.safetensors")
    assert {k: v.numpy().tobytes() for k, v in weights.items()} == {k: held[f"encoder.model.{k}"].numpy().tobytes() for k in weights}


def stopped_at(work: Workspace, config: TrainConfig, steps: int) -> None:
    """Train for some steps of a longer schedule and keep the weights of that moment as `held.safetensors`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        stop_before(patch, steps, die)
        with pytest.raises(Killed):
            train(work, config)
    state = work.layout.round(0).training / f"state-{steps}" / "weights.safetensors"
    (work.layout.folder / "held.safetensors").write_bytes(state.read_bytes())


def test_without_held_out_queries_nothing_is_validated_and_the_last_weights_are_kept(begin: Begin) -> None:
    work = begin()
    train(work, replace(TRAIN, held_out=0.0))
    made = read_manifest(work.layout.round(0).trained, "train")
    assert made["validation"] == []
    assert made["steps"] == 8


def test_training_lowers_the_loss(begin: Begin) -> None:
    work = begin()
    train(work, replace(TRAIN, epochs=15, held_out=0.0, dropout=False, evaluations=1))
    loss = [_mean_loss(work, encoder) for encoder in (work.encoder_of(0), work.encoder_of(1))]
    assert loss[1] < 0.8 * loss[0]


def _mean_loss(work: Workspace, config: Any) -> float:
    """KL of the labels to the encoder's distribution over each query's own candidates, at the temperature of training."""
    from umr.data.labels import read_labels
    from umr.encoder.encode import encode

    labels = read_labels(work.layout.round(0).labels)
    encoder = load_encoder(config)
    queries = encode(work.queries.records, encoder, "query", work.layout, MINE, Notes()).read()
    passages = encode(work.passages, encoder, "passage", work.layout, MINE, Notes()).read()
    total = 0.0
    for query, rows, wanted in zip(queries, labels.candidates.rows, labels.labels.astype(float), strict=True):
        logits = torch.from_numpy(passages[rows] @ query).double() / 0.02
        total += float((torch.from_numpy(wanted).exp() * (torch.from_numpy(wanted) - logits.log_softmax(0))).sum())
    return total / len(queries)


@pytest.mark.parametrize("held_out", [0.0, 0.2])
def test_a_loss_that_is_not_finite_is_refused_with_the_queries(begin: Begin, held_out: float) -> None:
    work = begin()
    with pytest.raises(ScoreError, match=r"(step|after step) \d+ is (nan|inf) \(queries q\d+") as caught:
        train(work, replace(TRAIN, learning_rate=1e30, warmup=0.0, held_out=held_out))
    assert "--learning-rate" in caught.value.hint
    assert not work.layout.round(0).trained.exists()


def test_weights_that_break_in_the_very_last_step_are_not_saved(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.optim.AdamW.step
    steps: list[int] = []

    def breaking(self: Any, *arguments: Any, **options: Any) -> Any:
        steps.append(1)
        real(self, *arguments, **options)
        if len(steps) == STEPS:
            self.param_groups[0]["params"][0].data.fill_(math.nan)

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    work = begin()
    with pytest.raises(ScoreError, match=f"validation loss after step {STEPS} is nan"):
        train(work, replace(TRAIN, keep="last"))
    assert not work.layout.round(0).trained.exists()


@pytest.mark.parametrize("frozen", ["passages", "queries"])
def test_a_frozen_side_keeps_its_bits_and_its_embeddings(begin: Begin, bert: Path, frozen: Any) -> None:
    work, notes = begin(), Notes()
    train(work, replace(TRAIN, freeze=frozen))
    place = work.layout.round(0)
    kept, changed = ("passage", "query") if frozen == "passages" else ("query", "passage")
    start = load_file(bert / "model.safetensors")
    after = {side: load_file(place.encoder / side / "model.safetensors") for side in (kept, changed)}
    assert after[kept].keys() == start.keys()
    assert all(torch.equal(after[kept][name], value) for name, value in start.items())
    assert any(not torch.equal(after[changed][name], value) for name, value in start.items())
    for side in ("query", "passage"):
        assert load_encoder(work.encoder_of(0).__class__(model=str(place.encoder / side))).query.settings.similarity == "cosine"
    mine(work, MINE, reporter=notes)
    manifests = [json.loads(work.layout.round(r).mined.read_text()) for r in (0, 1)]
    assert manifests[0][f"{kept}_embeddings"] == manifests[1][f"{kept}_embeddings"]
    assert manifests[0][f"{changed}_embeddings"] != manifests[1][f"{changed}_embeddings"]
    assert f"{kept} embeddings are there already" in notes.text
    assert f"{changed} embeddings are there already" not in notes.text


def test_a_frozen_side_is_found_again_though_its_files_look_otherwise(tmp_path: Path) -> None:
    """A hub folder rarely looks as transformers would write it: another architecture in the config, another order of keys."""
    import tiny
    from train.rig import encoder_config, labelled, opened

    model = tiny.encoder(tmp_path / "bert")
    config = json.loads((model / "config.json").read_text())
    config = {k: config[k] for k in reversed(config) if k != "transformers_version"} | {"architectures": ["BertForMaskedLM"]}
    (model / "config.json").write_text(json.dumps(config))
    work, notes = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 9, 9), encoder_config(model)), Notes()
    labelled(work)
    train(work, replace(TRAIN, freeze="passages"))
    mine(work, MINE, reporter=notes)
    assert "passage embeddings are there already" in notes.text


def test_untied_encoders_start_from_the_same_weights_and_part(begin: Begin) -> None:
    work = begin()
    train(work, replace(TRAIN, untie=True))
    folder = work.layout.round(0).encoder
    weights = [load_file(folder / side / "model.safetensors") for side in ("query", "passage")]
    assert any(not torch.equal(weights[0][name], value) for name, value in weights[1].items())
    encoder = load_encoder(work.encoder_of(1))
    assert not encoder.tied
    mine(work, MINE)


@pytest.mark.parametrize("options", [{"negatives": "own"}, {"duplicates": "keep"}, {"student_temperature": 0.5}, {"dropout": False}])
def test_every_choice_of_the_loss_trains_otherwise(begin: Begin, unbroken: dict[str, bytes], options: dict[str, Any]) -> None:
    work = begin()
    train(work, replace(TRAIN, **options))
    assert outcome(work)["model.safetensors"] != unbroken["model.safetensors"]


def test_the_chunk_size_changes_nothing_but_rounding(begin: Begin) -> None:
    """Without dropout, whose draws belong to the chunks. Losses are compared, not weights: Adam blows up the rounding of zero gradients."""
    losses = []
    for name, tokens in (("large", 8192), ("small", 40)):
        work = begin(name)
        train(work, replace(TRAIN, dropout=False, chunk_tokens=tokens))
        losses.append([loss for _, loss, _ in read_manifest(work.layout.round(0).trained, "train")["validation"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] != losses[0][-1]


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_a_loss_that_is_not_finite_is_named_with_its_step_and_nothing_of_it_is_kept(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """A GPU is asked only now and then, but always before a state is written."""
    work, real = begin(), Objective.backward
    monkeypatch.setitem(loop.CHECK_STEPS, "cpu", every)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)

    def spoiled(objective: Objective, inputs: BatchInputs) -> Tensor:
        loss = real(objective, inputs)
        return loss * math.nan if inputs.step == 5 else loss

    monkeypatch.setattr(Objective, "backward", spoiled)
    with pytest.raises(ScoreError, match=r"the loss of step 5 is nan \(queries .*, \.\.\.\)"):
        train(work, TRAIN)
    assert read_manifest(work.layout.round(0).training_state, "training")["steps"] == 5


def test_one_graph_and_chunks_train_alike(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    from umr.train import distillation

    losses = []
    for share in (0.0, 1.0):
        work = begin(f"share-{share}")
        monkeypatch.setattr(distillation, "WHOLE_SHARE", share)
        train(work, TRAIN)
        losses.append([loss for _, loss, _ in read_manifest(work.layout.round(0).trained, "train")["validation"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] != losses[0][0]
