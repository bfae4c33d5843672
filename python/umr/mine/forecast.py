"""What mining a round will take, said before the work: time, disk and memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from umr._rust import TokenStore
from umr.config import MineConfig, Precision
from umr.data.embeddings import Embeddings
from umr.data.workspace import Workspace
from umr.encoder.encode import store_for
from umr.encoder.encoder import DualEncoder
from umr.encoder.load import load_encoder
from umr.encoder.rows import BYTES_PER_NUMBER, Side, encode_rows, padded_tokens, tokens_of_a_pass
from umr.models.device import pick_device
from umr.progress import Reporter
from umr.progress.clock import seconds_of
from umr.search import find
from umr.sizes import bytes_of

TIMED_TOKENS = {"cpu": 1 << 14, "cuda": 1 << 21}  # of a sample of the texts that is encoded
SAMPLES = 4
SEARCHED = (65536, 512)  # passages and queries, of random vectors, that a search is timed with
SEARCH_MEMORY = 1 << 30  # bytes, where the settings name none
PAIR_BYTES = 16  # of a candidate: in the file and, as row and score, in memory


@dataclass(frozen=True)
class MiningForecast:
    """Mining one round with one encoder; BM25, runs and further encoders are not counted.

    Arguments:
        passages, queries: in all.
        unencoded: those of them whose vectors are not there yet.
        tokens: of these, padding included.
        encoding: seconds, by a sample of the texts that was encoded here.
        searching: seconds of the exact search, by a small one here; None for the approximate index.
        disk: bytes that vectors, their copies in 8 bits and candidates take.
        memory: bytes that weights, a forward pass and the search take, about.
    """

    passages: int
    queries: int
    unencoded: int
    tokens: int
    encoding: float
    searching: float | None
    disk: int
    memory: int


def forecast(workspace: Workspace, number: int, config: MineConfig, reporter: Reporter) -> MiningForecast:
    """Time a sample of the encoding and a small search; token ids are made for all texts, and stay.

    Arguments:
        workspace: passages and queries.
        number: the round.
        config: of the stage, its precision settled.
        reporter: shows what is done.
    """
    with reporter.bar("loading the encoder", 0, ""):
        encoder = load_encoder(workspace.encoder_of(number), pick_device(config.device), reporter)
    unencoded, tokens, seconds, disk = 0, 0, 0.0, 0
    sides: tuple[Side, Side] = ("passage", "query")
    for side in sides:
        records = workspace.passages if side == "passage" else workspace.queries.records
        store, ids, precision = store_for(records, encoder, side, workspace.layout, config, reporter)
        rows = len(records) - (Embeddings.progress(store.manifest)[0] if store.manifest.exists() else 0)
        with reporter.bar("encoding a sample", 0, ""):
            every, budget = np.arange(len(records), dtype=np.uint32), tokens_of_a_pass(config.batch_tokens, encoder.side(side))
            of_side = padded_tokens(encoder.side(side), ids, every, budget) * rows // len(records)
            seconds += of_side * seconds_of(_samples(encoder, side, ids, config, precision)) if of_side else 0.0
        unencoded, tokens, disk = unencoded + rows, tokens + of_side, disk + rows * store.dimensions * (4 if config.store == "f32" else 2)
    n, q, d = len(workspace.passages), len(workspace.queries), encoder.passage.dimensions
    weights = sum(4 * parameter.numel() for parameter in encoder.passage.parameters()) * (1 if encoder.tied else 2)
    memory = bytes_of(config.memory) if config.memory else SEARCH_MEMORY + q * (4 * d + PAIR_BYTES * config.top_k)
    working = tokens_of_a_pass(config.batch_tokens, encoder.passage) * BYTES_PER_NUMBER * d
    searching = None if config.index == "hnsw" else _search_seconds(n, q, d, config, reporter)
    disk += n * (d + 20) + q * config.top_k * PAIR_BYTES
    return MiningForecast(n, q, unencoded, tokens, seconds, searching, disk, weights + max(working, memory))


def _samples(
    encoder: DualEncoder, side: Side, tokens: TokenStore, config: MineConfig, precision: Precision
) -> Iterator[tuple[Callable[[], object], float]]:
    """Samples of the texts of one side, evenly spaced, to encode, and their tokens with padding, of which a sample has more than
    all texts sorted; the first one twice, for warming up.
    """
    own, budget = encoder.side(side), tokens_of_a_pass(config.batch_tokens, encoder.side(side))
    lengths = tokens.lengths(np.arange(len(tokens), dtype=np.uint32)).astype(np.int64)
    rows = max(1, int(TIMED_TOKENS[own.device.type] // max(1.0, lengths.mean())))
    step = max(1, len(tokens) // rows)
    forward = own.inference(precision)
    for first in (0, *range(min(SAMPLES, step))):
        some = np.arange(first * step // SAMPLES, len(tokens), step, dtype=np.uint32)
        yield partial(encode_rows, own, tokens, some, budget, None, forward), float(padded_tokens(own, tokens, some, budget))


def _search_seconds(passages: int, queries: int, dimensions: int, config: MineConfig, reporter: Reporter) -> float:
    """Seconds of the exact search: of making the 8-bit copies, which grows with passages, and of the rest, with pairs."""
    n, q = min(passages, SEARCHED[0]), min(queries, SEARCHED[1])
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="umr-") as folder, reporter.bar("searching a sample", 0, "") as bar:
        store = Embeddings(Path(folder), {}, n, dimensions, config.store, config.shard_rows)
        store.fill(lambda rows: draw.normal(size=(len(rows), dimensions)).astype(np.float32) / dimensions**0.5, bar)
        vectors = draw.normal(size=(q, dimensions)).astype(np.float32)
        small = replace(config, memory=None)
        first, again = (seconds_of([(partial(find, vectors, store, min(config.top_k, n), small), 1.0)]) for _ in range(2))
    return max(0.0, first - again) * passages / n + again * passages / n * queries / q
