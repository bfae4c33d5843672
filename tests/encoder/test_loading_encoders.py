"""Encoders that are found, and those that are refused; pooling by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from train.rig import encoder_config, opened
from umr.config import EncoderConfig
from umr.data.workspace import open_workspace
from umr.encoder.encoder import pool
from umr.encoder.export import save_encoder
from umr.encoder.load import load_encoder
from umr.errors import MismatchError, ModelError, UsageError


def test_pooling_looks_at_tokens_never_at_padding() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]], [[1.0, 1.0], [2.0, 2.0], [6.0, 3.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(hidden, mask, "mean").tolist() == [[2.0, 4.0], [3.0, 2.0]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0, 2.0], [1.0, 1.0]]
    assert pool(hidden, mask, "last").tolist() == [[3.0, 6.0], [6.0, 3.0]]


def test_padding_changes_no_vector(bert: Path) -> None:
    poolings: tuple[Any, ...] = ("mean", "cls", "last")
    for pooling in poolings:
        encoder = load_encoder(encoder_config(bert, pooling=pooling)).query
        ids = torch.tensor([[2, 9, 12, 3]])
        padded, mask = torch.nn.functional.pad(ids, (0, 5)), torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0, 0]])
        with torch.inference_mode():
            torch.testing.assert_close(encoder(padded, mask), encoder(ids, torch.ones_like(ids)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "pypi:nonsense", "justaname"])
def test_a_model_that_does_not_exist(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_encoder(encoder_config(name))
    assert name in caught.value.message
    assert caught.value.hint


def test_a_hub_that_cannot_be_reached_is_said() -> None:
    with pytest.raises(ModelError, match="nobody/nothing") as caught:
        load_encoder(encoder_config("nobody/nothing"))
    assert "local folder" in caught.value.hint


def test_an_encoder_decoder_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="encoder-decoder"):
        load_encoder(encoder_config(tiny.t5(tmp_path / "t5")))


def test_a_folder_without_weights(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="bare"):
        load_encoder(encoder_config(tmp_path / "bare"))


def test_two_towers_must_fit(bert: Path, tmp_path: Path) -> None:
    wide = tiny.encoder(tmp_path / "wide", dimensions=64)
    with pytest.raises(MismatchError, match=r"dimensions: .*bert has 32, .*wide has 64"):
        load_encoder(encoder_config(bert, passage_model=str(wide)))
    for name, similarity in (("dot", "dot"), ("cosine", "cosine")):
        save_encoder(load_encoder(encoder_config(bert, similarity=similarity)), tmp_path / name)
    with pytest.raises(MismatchError, match="similarity"):
        load_encoder(EncoderConfig(model=str(tmp_path / "dot"), passage_model=str(tmp_path / "cosine")))


def test_a_dpr_checkpoint_is_its_bert_inside_and_survives_saving(tmp_path: Path) -> None:
    from transformers import DPRConfig, DPRQuestionEncoder

    tokenizer = tiny.word_piece(64)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}
    torch.manual_seed(3)
    whole = DPRQuestionEncoder(DPRConfig(vocab_size=len(tokenizer), initializer_range=0.2, **shape)).eval()
    whole.save_pretrained(tmp_path / "dpr")
    tokenizer.save_pretrained(tmp_path / "dpr")
    encoder = load_encoder(EncoderConfig(model=str(tmp_path / "dpr")))
    assert (encoder.query.settings.pooling, encoder.query.settings.query_length, encoder.source) == ("cls", 64, "the DPR family")
    ids, mask = torch.tensor([[2, 9, 12, 3, 0]]), torch.tensor([[1, 1, 1, 1, 0]])
    with torch.inference_mode():
        expected = whole(input_ids=ids, attention_mask=mask).pooler_output
        torch.testing.assert_close(encoder.query(ids, mask), expected, rtol=1e-5, atol=1e-6)
        save_encoder(encoder, tmp_path / "saved")
        again = load_encoder(EncoderConfig(model=str(tmp_path / "saved")))
        torch.testing.assert_close(again.query(ids, mask), expected, rtol=1e-5, atol=1e-6)
    assert again.query.settings == encoder.query.settings
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == "bert"
    assert again.query.fingerprint == encoder.query.fingerprint


def reference_checkpoint(folder: Path, bert: Path, **extra: Any) -> tuple[Path, dict[str, torch.Tensor]]:
    """A file as the paper's code writes it (`model_utils.py` `CheckpointState`), two encoders that differ from their start."""
    start = load_encoder(encoder_config(bert)).query.model
    weights, drawn = {}, torch.Generator().manual_seed(5)
    for prefix in ("question_model.", "ctx_model."):
        for name, value in start.state_dict().items():
            weights[prefix + name] = value + 0.05 * torch.randn(value.shape, generator=drawn)
        weights[f"{prefix}embeddings.position_ids"] = torch.arange(64).expand(1, -1)
    state = {"optimizer_dict": {"state": {0: {"step": 3}}}, "scheduler_dict": {}, "offset": 0, "epoch": 9, "encoder_params": {"cfg": "x"}}
    folder.mkdir(exist_ok=True)
    torch.save({"model_dict": weights | extra, **state}, folder / "dpr_biencoder.9.100")
    return folder / "dpr_biencoder.9.100", weights


def test_a_checkpoint_of_the_papers_code_is_both_encoders(bert: Path, tmp_path: Path) -> None:
    path, weights = reference_checkpoint(tmp_path / "reference", bert)
    encoder = load_encoder(encoder_config(bert, checkpoint=str(path)))
    assert not encoder.tied
    ids, mask = torch.tensor([[2, 9, 12, 3, 0]]), torch.tensor([[1, 1, 1, 1, 0]])
    for side, prefix in (("query", "question_model."), ("passage", "ctx_model.")):
        plain = load_encoder(encoder_config(bert)).query
        plain.model.load_state_dict({name.removeprefix(prefix): v for name, v in weights.items() if name.startswith(prefix)}, strict=False)
        with torch.inference_mode():
            torch.testing.assert_close(encoder.side(side)(ids, mask), plain(ids, mask), rtol=0, atol=0)  # type: ignore[arg-type]
    assert encoder.query.fingerprint != encoder.passage.fingerprint


def test_a_work_folder_finds_its_checkpoint_from_anywhere(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = reference_checkpoint(tmp_path / "reference", bert)
    monkeypatch.chdir(path.parent)
    work = opened(tmp_path / "work", tiny.tiny_corpus(tmp_path / "data", 3, 3), encoder_config(bert, checkpoint=path.name))
    monkeypatch.chdir(tmp_path)
    assert open_workspace(work.layout.folder).encoder.checkpoint == str(path)
    assert (
        load_encoder(open_workspace(work.layout.folder).encoder).query.fingerprint != load_encoder(encoder_config(bert)).query.fingerprint
    )


def test_a_checkpoint_that_does_not_fit_is_refused(bert: Path, tmp_path: Path) -> None:
    path, _ = reference_checkpoint(tmp_path / "projected", bert, **{"ctx_model.encode_proj.weight": torch.zeros(4, 32)})
    with pytest.raises(ModelError, match="encode_proj"):
        load_encoder(encoder_config(bert, checkpoint=str(path)))
    path, _ = reference_checkpoint(tmp_path / "more", bert, **{"question_model.encoder.layer.2.output.dense.bias": torch.zeros(32)})
    with pytest.raises(ModelError, match=r"differ in 1 weights \(the first is encoder.layer.2"):
        load_encoder(encoder_config(bert, checkpoint=str(path)))
    path, _ = reference_checkpoint(tmp_path / "sound", bert)
    wide = tiny.encoder(tmp_path / "wide", dimensions=64)
    with pytest.raises(ModelError, match="of other sizes than the model"):
        load_encoder(encoder_config(wide, checkpoint=str(path)))
    with pytest.raises(UsageError, match="a second encoder is given"):
        load_encoder(encoder_config(bert, checkpoint=str(path), passage_model=str(bert)))
    (tmp_path / "other").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        load_encoder(encoder_config(bert, checkpoint=str(tmp_path / "other")))
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(ModelError, match="has no model_dict"):
        load_encoder(encoder_config(bert, checkpoint=str(tmp_path / "list")))


class Harmful:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def test_a_checkpoint_runs_no_code(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model_dict": {}, "encoder_params": Harmful()}, tmp_path / "harmful")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        load_encoder(encoder_config(bert, checkpoint=str(tmp_path / "harmful")))
    assert not (tmp_path / "touched").exists()


def test_a_checkpoint_without_a_pooler_is_the_same_encoder_at_every_load(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(bert, tmp_path / "headless")
    weights = {k: v for k, v in load_file(bert / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, tmp_path / "headless" / "model.safetensors", metadata={"format": "pt"})
    found = []
    for seed in (1, 2):  # whatever the caller has drawn before
        torch.manual_seed(seed)
        found.append(load_encoder(encoder_config(tmp_path / "headless")))
    first, second = found
    assert first.query.fingerprint == second.query.fingerprint
    save_encoder(first, tmp_path / "saved")
    assert load_encoder(EncoderConfig(model=str(tmp_path / "saved"))).query.fingerprint == first.query.fingerprint


def test_a_checkpoint_that_lacks_weights_is_refused(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(bert, tmp_path / "torn")
    weights = {k: v for k, v in load_file(bert / "model.safetensors").items() if "layer.1.output.dense" not in k}
    save_file(weights, tmp_path / "torn" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"torn lacks 2 weights .*encoder.layer.1.output.dense.bias"):
        load_encoder(encoder_config(tmp_path / "torn"))


@pytest.mark.parametrize("kind", ["bert", "gemma3"])
def test_the_first_layers_alone(kind: str, bert: Path, tmp_path: Path) -> None:
    folder, kept = (bert, 1) if kind == "bert" else (tiny.gemma3(tmp_path / "gemma3"), 2)
    whole = load_encoder(encoder_config(folder)).query
    cut = load_encoder(encoder_config(folder, layers=kept)).query
    ids = torch.tensor([[2, 9, 12, 3], [2, 7, 7, 5]])
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        states: Any = whole.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[kept]
        expected = whole.model.norm(states) if kind == "gemma3" else states  # type: ignore[operator]
        torch.testing.assert_close(cut.model(input_ids=ids, attention_mask=mask).last_hidden_state, expected, rtol=1e-5, atol=1e-6)
    assert cut.fingerprint != whole.fingerprint
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in whole.parameters())


def test_an_encoder_of_some_layers_is_saved_as_a_model_of_its_own(tmp_path: Path) -> None:
    import transformers

    encoder = load_encoder(encoder_config(tiny.gemma3(tmp_path / "gemma3"), layers=2))
    save_encoder(encoder, tmp_path / "saved")
    again = load_encoder(EncoderConfig(model=str(tmp_path / "saved")))
    assert again.encode(["river stone"], "query").tobytes() == encoder.encode(["river stone"], "query").tobytes()
    assert again.query.fingerprint == encoder.query.fingerprint
    assert transformers.AutoModel.from_pretrained(tmp_path / "saved").config.num_hidden_layers == 2


def test_more_layers_than_there_are(bert: Path) -> None:
    with pytest.raises(UsageError, match=r"layers is 3, but .* has 2"):
        load_encoder(encoder_config(bert, layers=3))
