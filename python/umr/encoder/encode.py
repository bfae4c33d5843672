"""Texts become embeddings: every row exactly once, in corpus order, restartable shard by shard."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import MineConfig, Precision
from umr.data.embeddings import Embeddings
from umr.encoder.encoder import DualEncoder, Encoder, Side
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
    from umr._rust import TokenStore, fingerprint

    s = encoder.settings
    options: dict[str, Any] = {
        "prefix": s.query_prefix if side == "query" else s.passage_prefix,
        "title": "none" if side == "query" else s.title,
        "max_length": s.query_length if side == "query" else s.passage_length,
        "strip_question_mark": s.strip_question_mark and side == "query",
    }
    tokenizer = encoder.tokenizer.backend_tokenizer.to_str()
    folder = layout.tokens(digest({"records": records.fingerprint, "tokenizer": fingerprint(tokenizer), **options}))
    if (folder / "manifest.json").exists():
        return TokenStore.open(str(folder))
    with tempfile.TemporaryDirectory(prefix="umr-") as temporary:
        path = Path(temporary) / "tokenizer.json"
        path.write_text(tokenizer, encoding="utf-8")
        with follow(reporter, f"tokenising {side} texts", len(records), "texts") as counter:
            return TokenStore.build(records, str(path), str(folder), counter=counter, **options)


def encode(records: Records, encoder: DualEncoder, side: Side, layout: WorkLayout, config: MineConfig, reporter: Reporter) -> Embeddings:
    """Encode all records, or read what an earlier run has encoded.

    Arguments:
        records: passages or queries.
        encoder: of both sides.
        side: which of the two encodes.
        layout: where tokens and embeddings are kept.
        config: precision, dtype on disk, shard size, tokens a forward pass.
        reporter: shows the progress.

    Returns:
        finished embeddings, [n, d] in corpus order.

    Raises:
        ScoreError: a vector is not finite; the message names the id.
    """
    own = encoder.side(side)
    tokens = token_store(records, own, side, layout, reporter)
    precision = settle_precision(config.precision, own.device, reporter)
    made_from = {
        "weights": own.fingerprint, "tokens": tokens.fingerprint,
        "pooling": own.settings.pooling, "similarity": own.settings.similarity,
        "precision": precision, "dtype": config.store, "shard_rows": config.shard_rows,
    }  # fmt: skip
    folder = layout.embeddings / digest(made_from)[:16]
    store = Embeddings(folder, made_from, len(records), own.dimensions, config.store, config.shard_rows)
    if store.complete:
        reporter.say(f"{side} embeddings are there already")
        return store
    with reporter.bar(f"encoding {side} texts", len(records), "texts") as bar:

        def finite(rows: NDArray[np.uint32]) -> NDArray[np.float32]:
            vectors = encode_rows(own, tokens, rows, config.batch_tokens, precision, bar)
            bad = rows[~np.isfinite(vectors).all(axis=1)]
            if len(bad):
                name, shard = records.ids(bad[:1])[0], rows[0] // store.shard_rows
                what = f"the vector of {name!r} (row {bad[0]}) is not finite, {len(bad)} such rows in shard {shard}"
                raise ScoreError(what, "set precision to fp32 under [mine] of a run file (--config)")
            return vectors

        store.fill(finite, bar)
    return store


def with_tokens(records: Records, encoder: DualEncoder, side: Side, layout: WorkLayout, reporter: Reporter) -> NDArray[np.bool_] | None:
    """Which texts have a token, and so a vector that is not zero: [n]; None where all have.

    Arguments:
        records, encoder, side, layout, reporter: as in `encode`.
    """
    tokens = token_store(records, encoder.side(side), side, layout, reporter)
    lengths = tokens.lengths(np.arange(len(records), dtype=np.uint32))
    return None if lengths.all() else lengths > 0


@torch.inference_mode()
def encode_rows(
    encoder: Encoder,
    tokens: TokenStore,
    rows: NDArray[np.uint32],
    budget: int,
    precision: Precision = "fp32",
    bar: Bar | None = None,
) -> NDArray[np.float32]:
    """Encode some rows in length-bucketed batches.

    Arguments:
        encoder: of one side, in evaluation mode.
        tokens: the token store of its tokenizer.
        rows: [m] uint32.
        budget: padded tokens in one forward pass.
        precision: fp32 or bf16 autocast.
        bar: advanced by finished rows.

    Returns:
        [m, d] float32, in the order of `rows`; zero for a text without a token.
    """
    vectors = np.zeros((len(rows), encoder.dimensions), dtype=np.float32)
    for places, ids, mask in token_batches(encoder, tokens, rows, budget):
        with autocast(precision, encoder.device):
            out = encoder(ids, mask)  # [b, d]
        vectors[places] = out.float().cpu().numpy()
        if bar:
            bar.advance(len(places))
    if bar:
        bar.advance(len(rows) - int(np.count_nonzero(tokens.lengths(rows))))
    return vectors


def token_batches(
    encoder: Encoder, tokens: TokenStore, rows: NDArray[np.uint32], budget: int
) -> Iterator[tuple[NDArray[np.uint32], Tensor, Tensor]]:
    """Length-bucketed batches of some texts, on the encoder's device.

    Arguments:
        encoder: of one side.
        tokens: the token store of its tokenizer.
        rows: [m] uint32.
        budget: padded tokens in one batch.

    Yields:
        places [b] in `rows`, token ids [b, L] int64, mask [b, L]; a text without a token is in no batch.
    """
    from umr._rust import plan_batches

    lengths = tokens.lengths(rows)
    there = np.flatnonzero(lengths)
    order, bounds = plan_batches(lengths[there], budget, MAX_ROWS)
    for start, end in pairwise(bounds):
        places = there[order[start:end]].astype(np.uint32)
        ids, mask = tokens.gather(rows[places], encoder.pad)
        yield places, torch.from_numpy(ids).to(encoder.device), torch.from_numpy(mask).to(encoder.device)


def encoder_identity(encoder: DualEncoder) -> dict[str, object]:
    """What decides an encoder's vectors, for manifests."""
    return {
        "query_weights": encoder.query.fingerprint,
        "passage_weights": encoder.passage.fingerprint,
        "settings": asdict(encoder.query.settings),
        **({"own_means": encoder.means.fingerprint} if encoder.means else {}),
    }
