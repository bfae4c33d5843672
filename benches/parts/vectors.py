"""Vectors to search in, as raw files: random unit vectors, and real e5 embeddings repeated with noise."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches.harness import say
from benches.parts.inputs import E5, cache_folder, key_of, passages, queries, sample, write_jsonl

Floats = NDArray[np.float32]
BASE = 20_000  # real passages that are encoded
TOKENS = 64  # of each: the first ones are enough for real vectors and spare an hour
NOISE = 0.1  # length of what is added to a repeated vector of length 1
BLOCK = 50_000  # rows made at once


@dataclass(frozen=True)
class Vectors:
    """Files of one kind of data.

    Arguments:
        kind: random or real.
        stored: what umr searches, of `dtype`.
        as_f32: the same values in f32, for the rivals.
        queries: f32.
        count, dimensions: of the passages.
        dtype: f32 or f16.
    """

    kind: str
    stored: Path
    as_f32: Path
    queries: Path
    count: int
    dimensions: int
    dtype: str

    def query_vectors(self) -> Floats:
        """The queries [Q, d]."""
        return np.fromfile(self.queries, dtype=np.float32).reshape(-1, self.dimensions)

    def as_f16(self) -> Vectors:
        """The same vectors stored in f16, with what that makes of them in f32 for the rivals."""
        stored, as_f32 = self.stored.with_suffix(".f16"), self.as_f32.with_suffix(".of-f16")
        with as_f32.open("wb") as full, stored.open("wb") as half:
            for start in range(0, self.count, BLOCK):
                short = self.passages()[start : start + BLOCK].astype(np.float16)
                short.tofile(half)
                short.astype(np.float32).tofile(full)
        return replace(self, stored=stored, as_f32=as_f32, dtype="f16")

    def passages(self) -> Floats:
        """The passages [n, d], mapped."""
        return np.memmap(self.as_f32, dtype=np.float32, mode="r", shape=(self.count, self.dimensions))


def _unit(values: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    return values / lengths


def make_random(folder: Path, count: int, dimensions: int, query_count: int, dtype: str) -> Vectors:
    """Random unit vectors: the hard case for screening, scores are close together."""
    rng = np.random.default_rng(0)

    def block(start: int, end: int) -> Floats:
        return _unit(rng.standard_normal((end - start, dimensions), dtype=np.float32))

    return _write(folder, "random", block, block(0, query_count), count, dtype)


def make_real(folder: Path, count: int, query_count: int, dtype: str) -> Vectors:
    """Embeddings of real passages and queries (e5-small, 384 dimensions); rows beyond BASE repeat them with a little noise."""
    base, queries = embeddings(min(BASE, count), query_count)
    rng = np.random.default_rng(1)

    def block(start: int, end: int) -> Floats:
        rows = np.arange(start, end)
        noise = _unit(rng.standard_normal((end - start, base.shape[1]), dtype=np.float32)) * np.float32(NOISE)
        return _unit(base[rows % len(base)] + noise * (rows >= len(base))[:, None].astype(np.float32))

    return _write(folder, "real", block, queries, count, dtype)


def _write(folder: Path, kind: str, block: Callable[[int, int], Floats], queries: Floats, count: int, dtype: str) -> Vectors:
    as_f32, stored, queries_file = folder / f"{kind}.f32", folder / f"{kind}.{dtype}", folder / f"{kind}.queries"
    queries.astype(np.float32).tofile(queries_file)
    with as_f32.open("wb") as full, (folder / f"{kind}.f16").open("wb") as half:
        for start in range(0, count, BLOCK):
            values = block(start, min(count, start + BLOCK))
            if dtype == "f16":
                short = values.astype(np.float16)
                short.tofile(half)
                values = short.astype(np.float32)
            values.tofile(full)
    return Vectors(kind, stored, as_f32, queries_file, count, queries.shape[1], dtype)


def embeddings(count: int, query_count: int) -> tuple[Floats, Floats]:
    """Vectors of `count` passages and `query_count` queries of train-mix, encoded once by umr and kept."""
    from umr.storage import beside

    path = cache_folder() / f"e5-{key_of('train-mix')}-{count}-{query_count}-{TOKENS}.npz"
    if not path.exists():
        found = _encode(count, query_count)
        with beside(path) as temporary, temporary.open("wb") as file:
            np.savez(file, passages=found[0], queries=found[1])
    with np.load(path) as kept:
        return kept["passages"], kept["queries"]


def _encode(count: int, query_count: int) -> tuple[Floats, Floats]:
    from umr._rust import Records
    from umr.config import EncoderConfig
    from umr.encoder.load import load_encoder
    from umr.encoder.rows import encode_rows, token_store
    from umr.layout import WorkLayout
    from umr.models.device import settle_precision
    from umr.progress.console import Console

    say(f"encoding {count:,} real passages once (5 to 10 minutes on 2 cores for 20,000), kept in {cache_folder()}")
    reporter = Console()
    encoder = load_encoder(EncoderConfig(E5, passage_length=TOKENS, query_length=TOKENS), "cpu", reporter)
    precision = settle_precision("auto", encoder.query.device, reporter)
    found = []
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        layout = WorkLayout(Path(name))
        chosen = {"passage": sample(passages("train-mix"), count), "query": sample(list(queries("train-mix")), query_count)}
        for side, rows in chosen.items():
            path = write_jsonl(Path(name) / f"{side}.jsonl", rows)
            records = Records.open([str(path)], "passages" if side == "passage" else "queries", str(layout.corpus))
            tokens = token_store(records, encoder.query, "passage" if side == "passage" else "query", layout, reporter)
            every, forward = np.arange(len(records), dtype=np.uint32), encoder.query.inference(precision)
            with reporter.bar(f"encoding {side} texts", len(records), "texts") as bar:
                found.append(encode_rows(encoder.query, tokens, every, 16384, bar, forward))
    return found[0], found[1]
