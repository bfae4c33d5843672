"""Model folders of the cases: files changed in a tiny encoder, and its vectors by umr and by sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import umr
from umr._rust import Records
from umr.config import EncoderConfig, MineConfig
from umr.encoder.encode import encode
from umr.encoder.encoder import DualEncoder, Side
from umr.layout import WorkLayout
from umr.progress import Silent

TEXTS = ["who built the old bridge?", "король построил мост", "The River CITY", "the old bridge built by the king of the north " * 9]
Vectors = NDArray[np.float32]


def put(folder: Path, file: str, value: Any) -> Path:
    """Write a JSON file of a folder."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(value))
    return folder


def change(folder: Path, file: str, **values: Any) -> Path:
    """Set keys of a JSON file of a folder."""
    old = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    return put(folder, file, old | values)


def ours(encoder: DualEncoder | Path, side: Side, folder: Path, texts: Sequence[str] = TEXTS) -> Vectors:
    """Vectors by umr: [n, d]."""
    if isinstance(encoder, Path):
        encoder = umr.load_encoder(EncoderConfig(model=str(encoder)))
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("".join(lines))
    records = Records.open([str(folder / "texts.jsonl")], "passages", str(folder / "cache"))
    return encode(records, encoder, side, WorkLayout(folder), MineConfig(batch_tokens=256), Silent()).read()


def sentence_transformer(folder: Path) -> Any:
    """The folder as sentence-transformers loads it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def theirs(folder: Path, side: Side, texts: Sequence[str] = TEXTS, **options: Any) -> Vectors:
    """Vectors by sentence-transformers, by the method that it has for the side."""
    model = sentence_transformer(folder)
    method = model.encode_query if side == "query" else model.encode_document
    return np.asarray(method(list(texts), show_progress_bar=False, **options))


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """Of each pair of rows."""
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)  # type: ignore[no-any-return]
