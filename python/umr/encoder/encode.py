"""Texts become embeddings: every row exactly once, in corpus order, restartable shard by shard."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from umr.config import MineConfig, Precision
from umr.data.embeddings import Embeddings
from umr.encoder.encoder import DualEncoder, Encoder, Side, tokenizer_file
from umr.errors import ScoreError
from umr.layout import WorkLayout
from umr.manifest import digest
from umr.models.device import autocast, settle_precision
from umr.progress import Bar, Reporter, follow

if TYPE_CHECKING:
    from umr._rust import Records, TokenStore

MAX_ROWS = 1024  # texts in one forward pass, however short


def token_store(records: Records, encoder: Encoder, side: Side, layout: WorkLayout, reporter: Reporter) -> TokenStore:
    """The token ids of all records, made once for a tokenizer, prefix and length, and opened afterwards.

    Arguments:
        records: passages or queries.
        encoder: whose tokenizer and settings decide the ids.
        side: which prefix and length.
        layout: where the store is kept.
        reporter: shows the tokenising.
    """
    from umr._rust import TokenStore

    s = encoder.settings
    options: dict[str, Any] = {
        "prefix": s.query_prefix if side == "query" else s.passage_prefix,
        "title": "none" if side == "query" else s.title,
        "max_length": s.query_length if side == "query" else s.passage_length,
        "strip_question_mark": s.strip_question_mark and side == "query",
    }
    temporary, path = tokenizer_file(encoder)
    with temporary:
        identity = digest({"records": records.fingerprint, "tokenizer": _text(path), **options})
        folder = layout.tokens(identity)
        if (folder / "manifest.json").exists():
            return TokenStore.open(str(folder))
        with follow(reporter, f"tokenising {side} texts", len(records), "texts") as counter:
            return TokenStore.build(records, path, str(folder), counter=counter, **options)


def _text(path: str) -> str:
    from umr._rust import fingerprint_files

    return fingerprint_files([path])


def encode(records: Records, encoder: DualEncoder, side: Side, layout: WorkLayout, config: MineConfig, reporter: Reporter) -> Embeddings:
    """Encode all records, or read what an earlier run has encoded.

    Arguments:
        records: passages or queries.
        encoder: the pair of towers.
        side: which tower.
        layout: where tokens and embeddings are kept.
        config: precision, dtype on disk, shard size, tokens a forward pass.
        reporter: shows the progress.

    Returns:
        finished embeddings, [n, d] in corpus order.

    Raises:
        ScoreError: a vector is not finite; the message names the id.
    """
    tower = encoder.tower(side)
    tokens = token_store(records, tower, side, layout, reporter)
    precision = settle_precision(config.precision, tower.device, reporter)
    made_from = {
        "weights": tower.fingerprint, "tokens": tokens.fingerprint,
        "pooling": tower.settings.pooling, "similarity": tower.settings.similarity,
        "precision": precision, "dtype": config.store, "shard_rows": config.shard_rows,
    }  # fmt: skip
    folder = layout.embeddings / digest(made_from)[:16]
    store = Embeddings(folder, made_from, len(records), tower.dimensions, config.store, config.shard_rows)
    if store.complete:
        reporter.say(f"{side} embeddings are there already")
        return store
    folder.mkdir(parents=True, exist_ok=True)
    with reporter.bar(f"encoding {side} texts", len(records), "texts") as bar:
        for shard in range(store.shards):
            _encode_shard(store, shard, records, tokens, tower, config, precision, bar)
    store.finish()
    return store


def _encode_shard(
    store: Embeddings,
    shard: int,
    records: Records,
    tokens: TokenStore,
    tower: Encoder,
    config: MineConfig,
    precision: Precision,
    bar: Bar,
) -> None:
    first, end = store.span(shard)
    if store.finished(shard):
        bar.advance(end - first)
        return
    rows = np.arange(first, end, dtype=np.uint32)
    vectors = encode_rows(tower, tokens, rows, config.batch_tokens, precision, bar)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        name = records.ids(rows[bad[:1]])[0]
        raise ScoreError(
            f"the vector of {name!r} (row {rows[bad[0]]}) is not finite, {len(bad)} such rows in shard {shard}",
            "try --precision fp32",
        )
    store.write(shard, vectors)


@torch.inference_mode()
def encode_rows(
    tower: Encoder,
    tokens: TokenStore,
    rows: NDArray[np.uint32],
    budget: int,
    precision: Precision = "fp32",
    bar: Bar | None = None,
) -> NDArray[np.float32]:
    """Encode some rows in length-bucketed batches.

    Arguments:
        tower: the encoder, in evaluation mode.
        tokens: the token store of its tokenizer.
        rows: [m] uint32.
        budget: padded tokens in one forward pass.
        precision: fp32 or bf16 autocast.
        bar: advanced by finished rows.

    Returns:
        [m, d] float32, in the order of `rows`.
    """
    from umr._rust import plan_batches

    order, bounds = plan_batches(tokens.lengths(rows), budget, MAX_ROWS)
    vectors = np.empty((len(rows), tower.dimensions), dtype=np.float32)
    for start, end in pairwise(bounds):
        places = order[start:end]
        ids, mask = tokens.gather(rows[places], tower.pad)
        with autocast(precision, tower.device):
            out = tower(torch.from_numpy(ids).to(tower.device), torch.from_numpy(mask).to(tower.device))  # [b, d]
        vectors[places] = out.float().cpu().numpy()
        if bar:
            bar.advance(len(places))
    return vectors


def encoder_identity(encoder: DualEncoder) -> dict[str, object]:
    """What decides an encoder's vectors, for manifests."""
    return {
        "query_weights": encoder.query.fingerprint,
        "passage_weights": encoder.passage.fingerprint,
        "settings": asdict(encoder.query.settings),
        **({"own_means": encoder.means.fingerprint} if encoder.means else {}),
    }
