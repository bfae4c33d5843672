"""On a GPU nothing waits inside a batch loop: no value of a tensor is asked for, however many forward passes there are.

Operations that give Python a number, or a tensor whose size depends on values, make a GPU finish all that was begun. They are
counted here on the processor, where the same code runs. transformers looks once a forward pass whether a mask has padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from train.rig import MINE, TRAIN, Notes, encoder_config, labelled, opened
from umr.data.labels import labels_of
from umr.encoder.encoder import Encoder
from umr.encoder.load import load_encoder
from umr.encoder.rows import encode_rows, token_store
from umr.label.scorers import causal, seq2seq
from umr.label.scorers.head import ChunkedHead, Projection
from umr.label.scorers.trees import Branch, Tree
from umr.models.lm import find_lm, load_lm
from umr.progress import Silent
from umr.train import loop
from umr.train.encoders import prepare

WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")
CPU = torch.device("cpu")


class Watch(TorchDispatchMode):
    """Counts operations that wait; `fetched` counts tensors that were brought to the processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.waits, self.fetched, real = 0, 0, torch.Tensor.cpu

        def cpu(tensor: torch.Tensor) -> torch.Tensor:
            self.fetched += 1
            return real(tensor)

        monkeypatch.setattr(torch.Tensor, "cpu", cpu)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = str(operation).split(".")[1]
        by_mask = name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1])
        self.waits += name in WAITING or by_mask
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many forward passes an encoder made."""
    made, real = [0], Encoder.forward

    def counted(self: Encoder, *inputs: torch.Tensor) -> torch.Tensor:
        made[0] += 1
        return real(self, *inputs)

    monkeypatch.setattr(Encoder, "forward", counted)
    return made


def test_the_watch_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.arange(4.0)
    for wait in (lambda: values[1].item(), lambda: bool((values > 1).all()), lambda: values[values > 1], lambda: values.nonzero()):
        with Watch(monkeypatch) as watch:
            wait()
        assert (watch.waits, watch.fetched) == (1, 0)
    with Watch(monkeypatch) as watch:
        values.cpu()
    assert (watch.waits, watch.fetched) == (0, 1)


def test_encoding(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[int]) -> None:
    work = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 40, 7), encoder_config(bert))
    encoder = load_encoder(encoder_config(bert)).passage
    tokens = token_store(work.passages, encoder, "passage", work.layout, Silent())
    with Watch(monkeypatch) as watch:
        encode_rows(encoder, tokens, np.arange(40, dtype=np.uint32), 64)
    assert forwards[0] > 10
    assert watch.waits <= forwards[0]
    assert watch.fetched == 1


@pytest.mark.parametrize("kind", [tiny.llama, tiny.gemma3, tiny.gpt2])
def test_labelling_with_a_causal_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Path], Path]) -> None:
    scorer = causal.CausalScorer(load_lm(find_lm(str(kind(tmp_path / "lm")), Silent()), "fp32", CPU), "mean")
    monkeypatch.setitem(causal.PASS_TOKENS, "cpu", 40)
    trees = [Tree([5, 6, 7, 8, 9][: n % 4 + 2], [Branch(0, [8, 9, 10], 2), Branch(1, [8, 9], 1)]) for n in range(60)]
    with Watch(monkeypatch) as watch:
        assert len(scorer.score(trees)) == 120
    assert (watch.waits, watch.fetched) == (0, 1)


def spread(model: Any, gpus: int) -> None:
    """Put the layers of a model on GPUs in turn, with weights that only have shapes, as accelerate does it with real ones."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    layers = len(model.model.layers)
    places = {"model.embed_tokens": 0, **{f"model.layers.{n}": n * gpus // layers for n in range(layers)}, "model.norm": gpus - 1}
    for name, module in model.named_modules():
        place = next((number for part, number in places.items() if name == part or name.startswith(f"{part}.")), 0)
        for kept, made in ((module._parameters, torch.nn.Parameter), (module._buffers, lambda tensor: tensor)):
            for key, tensor in kept.items():
                if tensor is not None:
                    kept[key] = made(torch.empty(tensor.shape, dtype=tensor.dtype, device=f"cuda:{place}"))
        if name in places and gpus > 1:
            add_hook_to_module(module, AlignDevicesHook(execution_device=place))


@pytest.mark.filterwarnings("ignore:CUDA is not available")  # so says autocast
@pytest.mark.skipif(torch.version.cuda is None, reason="needs a torch that was built for CUDA; no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("gpus", [1, 3])
def test_labelling_on_gpus_that_only_have_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any, gpus: int) -> None:
    """Tensors without values on GPUs that are not there: asking for a value fails, and so does a tensor on the wrong device."""
    mode, gpu, fetched = FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), list[tuple[Any, ...]]()

    def sent(values: Any, device: torch.device) -> torch.Tensor:
        return torch.empty(values.shape, dtype=torch.from_numpy(values).dtype, device=device)

    def fetch(tensor: torch.Tensor) -> torch.Tensor:
        fetched.append((tuple(tensor.shape), tensor.dtype, tensor.device.type))
        return tensor

    lm = load_lm(find_lm(str(tiny.gemma3(tmp_path / "lm")), Silent()), precision, CPU)
    scorer = causal.CausalScorer(lm, "mean")
    weight = torch.empty_like(lm.model.get_output_embeddings().weight)
    with mode:
        spread(lm.model, gpus)
        head = ChunkedHead(Projection(torch.empty(weight.shape, device=gpu), None, 1.0, None))
        head.twice = torch.empty(len(weight), 2 * weight.shape[1], dtype=torch.bfloat16, device=gpu) if precision == "bf16" else None
        scorer.head = head
    monkeypatch.setattr(causal, "send", sent)
    monkeypatch.setattr(causal, "prefetch", lambda items, device: items)  # a mode is not for two threads
    monkeypatch.setattr(torch.Tensor, "cpu", fetch)
    monkeypatch.setitem(causal.PASS_TOKENS, "cuda", 200)
    trees = [Tree([5, 6, 7, 8, 9][: n % 4 + 2], [Branch(0, [8, 9, 10], 2), Branch(1, [8, 9], 1)]) for n in range(60)]
    with mode, pytest.raises(RuntimeError, match=r"numpy\(\) is not supported"):
        scorer.score(trees)
    assert fetched == [((120,), torch.float32, "cuda")]


def test_labelling_with_an_encoder_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = seq2seq.EncoderDecoderScorer(load_lm(find_lm(str(tiny.mt5(tmp_path / "lm")), Silent()), "fp32", CPU), "mean")
    monkeypatch.setitem(seq2seq.TARGET_TOKENS, "cpu", 8)
    trees = [Tree([5, 6, 7, 8, 9][: n % 4 + 2], [Branch(0, [8, 9, 10][:m], m) for m in (2, 3, 3)]) for n in range(60)]
    monkeypatch.setattr(seq2seq, "PADDING", {"cpu": (1.0, 0.0)})
    passes = [0]
    for half in (scorer.lm.model.get_encoder(), scorer.lm.model.get_decoder()):
        half.register_forward_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    with Watch(monkeypatch) as watch:
        assert len(scorer.score(trees)) == 180
    assert passes[0] > 10
    assert watch.waits <= passes[0]
    assert watch.fetched == 1


@pytest.mark.parametrize("whole", [0.0, 1.0], ids=["chunks", "whole"])
def test_training(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[int], whole: float) -> None:
    from umr.train import distillation

    work = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 40, 24), encoder_config(bert))
    labelled(work)
    encoders = prepare(work, load_encoder(encoder_config(bert)), TRAIN, MINE, Silent())
    monkeypatch.setattr(distillation, "WHOLE_SHARE", whole)
    monkeypatch.setitem(loop.CHECK_STEPS, "cpu", 1000)
    with loop.begun(encoders, labels_of(work.layout.round(0)), TRAIN, {}, tmp_path / "training", Notes()) as training:
        training.train_mode()
        training.step(training.inputs(0))  # the first one measures the graph
        forwards[0] = 0
        with Watch(monkeypatch) as watch:
            for step in range(1, 5):
                training.step(training.inputs(step))
    assert forwards[0] >= 8
    assert watch.waits <= forwards[0]
