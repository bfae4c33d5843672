"""A model folder means what its own library makes of it: each setting that changes a vector is honoured, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
import umr
from cases.folders import TEXTS, change, cosines, ours, put, sentence_transformer, theirs
from umr.config import EncoderConfig
from umr.errors import InputError
from umr.models.lm import find_lm
from umr.progress import Silent

SIDES: tuple[Any, ...] = ("query", "passage")
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved by sentence-transformers itself: mean pooling, prompts for both sides."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    folder = tmp_path_factory.mktemp("original")
    bert = tiny.encoder(folder / "bert", positions=64)
    body = Transformer(str(bert))
    model = SentenceTransformer(modules=[body, Pooling(32, pooling_mode="mean"), Normalize()], device="cpu", prompts=PROMPTS)
    model.save(str(folder / "saved"))
    return folder / "saved"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def agree(folder: Path, tmp_path: Path) -> None:
    for side in SIDES:
        np.testing.assert_allclose(ours(folder, side, tmp_path / side), theirs(folder, side), rtol=1e-4, atol=1e-5)


def refused(folder: Path, **options: Any) -> str:
    """The message of the refusal."""
    with pytest.raises(InputError) as caught:
        umr.load_encoder(EncoderConfig(model=str(folder), **options))
    assert caught.value.hint
    return caught.value.message


def test_a_folder_as_it_was_saved(folder: Path, tmp_path: Path) -> None:
    agree(folder, tmp_path)


NAMES = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"]


@pytest.mark.parametrize("name", NAMES)
def test_the_longest_text_under_each_name_of_its_file(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "sentence_bert_config.json").unlink()
    agree(put(folder, f"sentence_{name}_config.json", {"max_seq_length": 8}), tmp_path)


def test_of_several_such_files_the_first_that_says_anything(folder: Path, tmp_path: Path) -> None:
    for name, value in (("bert", {}), ("roberta", {"max_seq_length": 8}), ("albert", {"max_seq_length": 30})):
        put(folder, f"sentence_{name}_config.json", value)
    agree(folder, tmp_path)


def test_lengths_of_the_two_sides(folder: Path, tmp_path: Path) -> None:
    agree(change(folder, "sentence_bert_config.json", query_length=7, document_length=20), tmp_path)


def test_without_a_length_it_is_the_tokenizers(folder: Path, tmp_path: Path) -> None:
    put(folder, "sentence_bert_config.json", {})
    agree(change(folder, "tokenizer_config.json", model_max_length=12), tmp_path)


def test_a_plain_folder_has_the_length_of_its_tokenizer(original: Path, tmp_path: Path) -> None:
    folder = tiny.encoder(tmp_path / "plain")
    change(folder, "tokenizer_config.json", model_max_length=12)
    encoder = umr.load_encoder(EncoderConfig(model=str(folder), pooling="mean", similarity="cosine"))
    expected = np.asarray(sentence_transformer(folder).encode(TEXTS, normalize_embeddings=True))
    np.testing.assert_allclose(ours(encoder, "passage", tmp_path / "work"), expected, rtol=1e-4, atol=1e-5)


def test_lower_case(folder: Path, tmp_path: Path) -> None:
    change(folder, "sentence_bert_config.json", do_lower_case=True)
    assert cosines(ours(folder, "query", tmp_path / "a", ["The RIVER"]), ours(folder, "query", tmp_path / "b", ["the river"]))[0] > 0.9999
    agree(folder, tmp_path)


@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken", ["cls"]])
def test_pooling(folder: Path, tmp_path: Path, mode: Any) -> None:
    agree(put(folder, "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": mode}), tmp_path)


def test_pooling_without_a_word_is_the_mean(folder: Path, tmp_path: Path) -> None:
    agree(put(folder, "1_Pooling/config.json", {"word_embedding_dimension": 32}), tmp_path)


def test_pooling_without_the_prompts_tokens(folder: Path, tmp_path: Path) -> None:
    change(folder, "1_Pooling/config.json", include_prompt=False)
    assert "1_Pooling/config.json: include_prompt is false" in refused(folder)
    assert "include_prompt" in refused(folder, query_prefix="", passage_prefix="passage: ")
    without = umr.load_encoder(EncoderConfig(model=str(folder), query_prefix="", passage_prefix=""))
    expected = np.asarray(sentence_transformer(folder).encode(TEXTS))
    np.testing.assert_allclose(ours(without, "query", tmp_path / "work"), expected, rtol=1e-4, atol=1e-5)


TRANSFORMER, ST = "sentence_bert_config.json", "config_sentence_transformers.json"
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("1_Pooling/config.json", {"pooling_mode": "max"}),
    ("1_Pooling/config.json", {"pooling_mode": ["mean", "cls"]}),
    (TRANSFORMER, {"transformer_task": "fill-mask"}),
    (TRANSFORMER, {"module_output_name": "sentence_embedding"}),
    (TRANSFORMER, {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}),
    (TRANSFORMER, {"modality_config": {"message": {"method": "forward", "method_output_name": "last_hidden_state"}}}),
    (TRANSFORMER, {"processing_kwargs": {"text": {"max_length": 5}}}),
    (TRANSFORMER, {"query_expansion": {"length": 32}}),
    (TRANSFORMER, {"tokenizer_name_or_path": "other/tokenizer"}),
    (TRANSFORMER, {"config_args": {"num_hidden_layers": 1}}),
    (TRANSFORMER, {"model_kwargs": {"add_pooling_layer": False}}),
    (TRANSFORMER, {"tokenizer_args": {"model_max_length": 7}}),
    (TRANSFORMER, {"of_the_future": 3}),
    (ST, {"truncate_dim": 8}),
    (ST, {"model_type": "SparseEncoder"}),
    ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}),
]


@pytest.mark.parametrize(("file", "value"), REFUSED, ids=[f"{file}-{next(iter(value))}" for file, value in REFUSED])
def test_what_is_not_honoured_is_refused_by_name(folder: Path, file: str, value: dict[str, Any]) -> None:
    message = refused(change(folder, file, **value))
    assert file in message
    assert next(iter(value)) in message


def test_settings_that_change_no_vector_stay(folder: Path, tmp_path: Path) -> None:
    """Padding on the left moves the positions of sentence-transformers' shorter texts: each text is a batch of its own."""
    change(folder, TRANSFORMER, unpad_inputs=False, model_args={"attn_implementation": "eager"}, tokenizer_args={"padding_side": "left"})
    np.testing.assert_allclose(ours(folder, "query", tmp_path), theirs(folder, "query", batch_size=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["euclidean", "manhattan"])
def test_other_similarities(folder: Path, name: str) -> None:
    put(folder, "modules.json", json.loads((folder / "modules.json").read_text())[:2])
    assert "similarity_fn_name" in refused(change(folder, ST, similarity_fn_name=name))
    assert umr.load_encoder(EncoderConfig(model=str(folder), similarity="dot")).query.settings.similarity == "dot"


def test_a_default_prompt_of_neither_side(folder: Path) -> None:
    change(folder, ST, prompts={"sts": "same: "}, default_prompt_name="sts")
    assert "default prompt 'same: '" in refused(folder)
    assert umr.load_encoder(EncoderConfig(model=str(folder), query_prefix="", passage_prefix="")).tied


@pytest.mark.parametrize("place", ["../elsewhere", "/tmp", "0_Transformer"])
def test_modules_in_other_places(folder: Path, place: str) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    for which in (0, 1):
        put(folder, "modules.json", [m | {"path": place} if at == which else m for at, m in enumerate(modules)])
        if which == 0 or place != "0_Transformer":
            assert repr(place) in refused(folder)


def test_modules_in_another_order(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    assert "Transformer, Normalize, Pooling" in refused(put(folder, "modules.json", [modules[0], modules[2], modules[1]]))


def test_a_tokenizer_that_cuts_on_the_left(folder: Path) -> None:
    assert "cuts long texts on the left" in refused(change(folder, "tokenizer_config.json", truncation_side="left"))


def test_a_tokenizer_that_splits_special_tokens(folder: Path) -> None:
    assert "split_special_tokens" in refused(change(folder, "tokenizer_config.json", split_special_tokens=True))


def test_an_architecture_with_a_part_of_its_own(folder: Path) -> None:
    assert "HF_ColBERT" in refused(change(folder, "config.json", architectures=["HF_ColBERT"]))


def test_an_adapter_beside_the_weights(folder: Path, tmp_path: Path) -> None:
    assert "adapter_config.json" in refused(put(folder, "adapter_config.json", {"peft_type": "LORA"}))
    lm = put(tiny.llama(tmp_path / "lm"), "adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        find_lm(str(lm), Silent())


@pytest.mark.parametrize("kind", ["DPRQuestionEncoder", "DPRContextEncoder"])
def test_the_projection_of_dpr(tmp_path: Path, kind: str) -> None:
    from transformers import DPRConfig

    tokenizer = tiny.word_piece()
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}
    for projection in (16, 0):
        config = DPRConfig(vocab_size=len(tokenizer), projection_dim=projection, **shape)
        tiny.save(tmp_path / str(projection), config, tokenizer, kind, seed=0)
    message = refused(tmp_path / "16", query_length=64, passage_length=64)
    assert "projection_dim is 16" in message
    encoder = umr.load_encoder(EncoderConfig(model=str(tmp_path / "0"), query_length=64, passage_length=64))
    import transformers

    model = getattr(transformers, kind).from_pretrained(tmp_path / "0").eval()
    batch = tokenizer(TEXTS[:1], return_tensors="pt")
    with torch.inference_mode():
        expected = model(input_ids=batch["input_ids"]).pooler_output.numpy()
    np.testing.assert_allclose(ours(encoder, "query", tmp_path / "work", TEXTS[:1]), expected, rtol=1e-4, atol=1e-5)
