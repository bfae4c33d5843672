"""Files of models of any content: loaded, or refused by an error that names the file; never a traceback, never without end."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny
from umr.config import EncoderConfig
from umr.encoder.settings import FIELDS, resolve_settings
from umr.errors import InputError, ModelError
from umr.models.gguf import convert_file
from umr.progress import Silent

SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ODD: list[Any] = [
    None, True, False, 0, -1, 10**400, 1 << 63, 1e308, float("nan"), float("inf"), "", "../../etc/passwd", "a\0b", "\ud800", "x" * 100_000,
    [], {}, [[]], {"a": {}}, "mean", "cosine", "text", 64,
]  # fmt: skip
VALUES = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda v: st.lists(v, max_size=2)
)
DEEP = "[" * 100_000
GOOD: dict[str, Any] = {
    "umr_encoder.json": dict(zip(FIELDS, ["mean", "cosine", "", "", "text", 64, 64, False], strict=True)),
    "modules.json": [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ],
    "1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": True},
    "sentence_bert_config.json": {"max_seq_length": 64, "do_lower_case": False, "modality_config": {}, "model_args": {}, "query_length": 3},
    "config_sentence_transformers.json": {
        "prompts": {"query": "q"}, "default_prompt_name": "query", "similarity_fn_name": "cosine", "truncate_dim": None, "model_type": None,
    },
    "config.json": {"architectures": ["BertModel"], "max_position_embeddings": 64, "model_type": "bert"},
    "tokenizer_config.json": {"model_max_length": 64},
}  # fmt: skip


def refusal(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returns, and the message of its refusal where it refuses."""
    try:
        return call(), ""
    except InputError as error:
        return None, error.message


def resolved(folder: Path) -> None:
    """Settings that can be used, or a refusal that names a file."""
    config = EncoderConfig(model=str(folder), pooling="mean", similarity="cosine")
    found, message = refusal(lambda: resolve_settings(config, str(folder), folder)[0])
    assert len(message) < 1000
    if found is None:
        assert str(folder) in message
    else:
        assert "\ud800" not in found.query_prefix + found.passage_prefix
        assert 0 < found.query_length < 1 << 31


def written(folder: Path, files: dict[str, Any]) -> Path:
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


@pytest.mark.parametrize("own", [True, False], ids=["umr_encoder.json", "sentence-transformers"])
@given(data=st.data())
@SLOW
def test_settings_of_any_type(tmp_path_factory: pytest.TempPathFactory, own: bool, data: st.DataObject) -> None:
    files = {name: value for name, value in GOOD.items() if own or name != "umr_encoder.json"}
    name = data.draw(st.sampled_from(["umr_encoder.json"] if own else list(files)))
    value = json.loads(json.dumps(files[name]))
    target = value[data.draw(st.integers(0, len(value) - 1))] if isinstance(value, list) else value
    key = data.draw(st.sampled_from(sorted(target)))
    target[key] = data.draw(VALUES)
    resolved(written(tmp_path_factory.mktemp("any"), files | {name: value}))


@pytest.mark.parametrize(
    "content", ["", "{", "null", "3", '"x"', "[1]", DEEP, '{"a":' * 50_000, "9" * 10_000, '{"pooling": ' + "9" * 10_000 + "}"]
)
@pytest.mark.parametrize("name", list(GOOD))
def test_files_of_any_form(tmp_path: Path, name: str, content: str) -> None:
    files = {known: value for known, value in GOOD.items() if name == "umr_encoder.json" or known != "umr_encoder.json"}
    resolved(written(tmp_path, files | {name: content}))


# ---------------------------------------------------------------- GGUF


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as llama.cpp's tools write it."""
    from gguf import GGUFWriter

    path, rng = tmp_path_factory.mktemp("gguf") / "tiny.gguf", np.random.default_rng(0)
    made = GGUFWriter(path, "llama")
    pieces = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnop"]
    made.add_block_count(1)
    made.add_context_length(64)
    made.add_embedding_length(32)
    made.add_feed_forward_length(64)
    made.add_head_count(4)
    made.add_head_count_kv(4)
    made.add_layer_norm_rms_eps(1e-5)
    made.add_rope_freq_base(10000.0)
    made.add_vocab_size(len(pieces))
    made.add_tokenizer_model("llama")
    made.add_token_list(pieces)
    made.add_token_scores([-float(i) for i in range(len(pieces))])
    made.add_token_types([2, 3, 3, *[1] * (len(pieces) - 3)])
    made.add_bos_token_id(1)
    made.add_eos_token_id(2)
    shapes = {"token_embd": (len(pieces), 32), "output": (len(pieces), 32), "output_norm": (32,)}
    layer = {"attn_norm": (32,), "ffn_norm": (32,), "ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    layer |= dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (32, 32))
    for name, shape in (shapes | {f"blk.0.{part}": shape for part, shape in layer.items()}).items():
        made.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    return path


def converted(path: Path, cache: Path) -> Path | None:
    """The folder, or None where the file is refused by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, message = refusal(lambda: convert_file(path, cache, Silent()))
    assert found is not None or str(path) in message
    return found  # type: ignore[no-any-return]


def test_a_small_file_is_converted(gguf_file: Path, tmp_path: Path) -> None:
    folder = converted(gguf_file, tmp_path)
    assert folder is not None
    assert (folder / "model.safetensors").exists()


def test_files_that_differ_in_the_middle_are_two_models(gguf_file: Path, tmp_path: Path) -> None:
    """Of one name and size, alike in their first and last mebibyte."""
    folders = []
    for value in (0.0, 1.0):
        path = tmp_path / str(value) / "big.gguf"
        path.parent.mkdir()
        content = bytearray(gguf_file.read_bytes()) + bytes(3 << 20)
        struct.pack_into("<f", content, len(content) // 2, value)
        path.write_bytes(content)
        folders.append(converted(path, tmp_path / "cache"))
    assert None not in folders
    assert folders[0] != folders[1]


def header_end(content: bytes) -> int:
    return content.rindex(b".weight") + 64


def places(gguf_file: Path) -> Iterator[int]:
    content = gguf_file.read_bytes()
    for key in (
        b"llama.block_count",
        b"llama.embedding_length",
        b"llama.feed_forward_length",
        b"llama.attention.head_count",
        b"llama.vocab_size",
    ):
        yield content.index(key) + len(key) + 4  # behind the type


@pytest.mark.parametrize("value", [(1 << 32) - 1, 1 << 30, 1 << 16])
def test_sizes_beyond_the_tensors(gguf_file: Path, tmp_path: Path, value: int) -> None:
    for at in places(gguf_file):
        content = bytearray(gguf_file.read_bytes())
        struct.pack_into("<I", content, at, value)
        path = tmp_path / f"{at}.gguf"
        path.write_bytes(content)
        assert converted(path, tmp_path / "cache") is None


def test_an_array_beyond_the_file(gguf_file: Path, tmp_path: Path) -> None:
    content = bytearray(gguf_file.read_bytes())
    at = content.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 8
    struct.pack_into("<Q", content, at, 1 << 60)
    path = tmp_path / "long.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"long\.gguf: not a whole GGUF file"):
        convert_file(path, tmp_path / "cache", Silent())


@given(data=st.data())
@settings(SLOW, max_examples=40)
def test_headers_with_any_bytes(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(gguf_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, header_end(bytes(content))))
        content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    folder = tmp_path_factory.mktemp("any")
    path = folder / "any.gguf"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    converted(path, folder / "cache")


# ---------------------------------------------------------------- config.json and weights


@pytest.mark.parametrize(
    "values",
    [{"hidden_size": "x"}, {"hidden_size": -1}, {"num_hidden_layers": [3]}, {"vocab_size": None}, {"model_type": ["bert"]},
     {"architectures": {"a": 1}}, {"hidden_size": 10**30}, {"num_attention_heads": 0}, {"max_position_embeddings": "64"}],
)  # fmt: skip
def test_a_config_of_wrong_values(tmp_path: Path, values: dict[str, Any]) -> None:
    from umr.encoder.load import load_encoder

    folder = tiny.encoder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    with pytest.raises(InputError) as caught:
        load_encoder(EncoderConfig(model=str(folder), pooling="mean", similarity="cosine"))
    assert str(folder) in caught.value.message


@pytest.mark.parametrize("index", [{}, {"weight_map": 3}, {"weight_map": {"a": "../model.safetensors"}}, {"weight_map": {"a": ["x"]}}])
def test_an_index_that_leads_out_of_the_folder(tmp_path: Path, index: dict[str, Any]) -> None:
    from umr.encoder.load import load_encoder

    folder = tiny.encoder(tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors.elsewhere")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json"):
        load_encoder(EncoderConfig(model=str(folder), pooling="mean", similarity="cosine"))


def test_weights_of_any_bytes(tmp_path: Path) -> None:
    from umr.encoder.load import load_encoder

    folder = tiny.encoder(tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    for content in (b"", whole[:100], struct.pack("<Q", 1 << 62) + whole[8:], b"\xff" * 64):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="cannot load the model"):
            load_encoder(EncoderConfig(model=str(folder), pooling="mean", similarity="cosine"))
