"""Texts become embeddings: every row exactly once, in corpus order, restartable shard by shard."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records, TokenStore
from umr.config import MineConfig, Precision
from umr.data.embeddings import Embeddings
from umr.encoder.encoder import DualEncoder, Encoder
from umr.encoder.rows import Forward, Side, encode_rows, token_store, tokens_of_a_pass
from umr.errors import ScoreError, UsageError
from umr.layout import WorkLayout
from umr.manifest import digest
from umr.models.device import release_memory, settle_precision, without_memory
from umr.progress import Bar, Reporter
from umr.work.ranks import Claims

PIECE_TOKENS = {"cpu": 1 << 18, "cuda": 1 << 24}  # of a piece: a minute or less of a base model on two cores, or on a small GPU


def encode(
    records: Records,
    encoder: DualEncoder,
    side: Side,
    layout: WorkLayout,
    config: MineConfig,
    reporter: Reporter,
    claims: Claims | None = None,
) -> Embeddings:
    """Encode all records, or read what an earlier run has encoded.

    Arguments:
        records: passages or queries.
        encoder: of both sides.
        side: which of the two encodes.
        layout: where tokens and embeddings are kept.
        config: precision, dtype on disk, shard size, tokens a forward pass.
        reporter: shows the progress.
        claims: of the ranks that encode together; this one does its part, and none puts the shards together.

    Returns:
        finished embeddings, [n, d] in corpus order; of a rank they may be unfinished.

    Raises:
        ScoreError: a vector is not finite; the message names the id.
    """
    own = encoder.side(side)
    store, tokens, precision = store_for(records, encoder, side, layout, config, reporter)
    if store.complete:
        reporter.say(f"{side} embeddings are there already")
        return store
    budget, forward = tokens_of_a_pass(config.batch_tokens, own), own.inference(precision)
    with reporter.bar(f"encoding {side} texts", len(records), "texts") as bar:

        def finite(rows: NDArray[np.uint32]) -> NDArray[np.float32]:
            nonlocal budget
            while isinstance(vectors := _encode_within(own, tokens, rows, budget, bar, forward), str):
                budget = _halved(budget, int(tokens.lengths(rows).max()), vectors, reporter)
            bad = rows[~np.isfinite(vectors).all(axis=1)]
            if len(bad):
                name, shard = records.ids(bad[:1])[0], rows[0] // store.shard_rows
                what = f"the vector of {name!r} (row {bad[0]}) is not finite, {len(bad)} such rows in shard {shard}"
                raise ScoreError(what, "set precision to fp32 under [mine] of a run file (--config)")
            return vectors

        cut = partial(pieces, tokens, size=PIECE_TOKENS[own.device.type])
        if claims:
            store.share(finite, bar, cut, claims)
        else:
            store.fill(finite, bar, cut)
    return store


def store_for(
    records: Records, encoder: DualEncoder, side: Side, layout: WorkLayout, config: MineConfig, reporter: Reporter
) -> tuple[Embeddings, TokenStore, Precision]:
    """Where the embeddings of some records are or will be, the token ids that they are made of, and in which precision.

    Arguments:
        records, encoder, side, layout, config, reporter: as in `encode`.
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
    return Embeddings(folder, made_from, len(records), own.dimensions, config.store, config.shard_rows), tokens, precision


def _encode_within(
    own: Encoder, tokens: TokenStore, rows: NDArray[np.uint32], budget: int, bar: Bar, forward: Forward
) -> NDArray[np.float32] | str:
    """Vectors, or how memory ran out; the error is gone by then, and with it the tensors that its frames hold."""
    try:
        return encode_rows(own, tokens, rows, budget, bar, forward)
    except (MemoryError, RuntimeError) as error:
        said = without_memory(error)
    release_memory()
    return said


def _halved(budget: int, longest: int, said: str, reporter: Reporter) -> int:
    if budget <= longest:
        raise UsageError(
            f"one text of {longest:,} tokens does not fit into memory{said}",
            "cut texts shorter (--passage-length), take a smaller encoder, or --device cpu",
        )
    reporter.warn(f"out of memory in a forward pass of at most {budget:,} tokens: going on with {budget // 2:,}")
    return budget // 2


def pieces(tokens: TokenStore, first: int, end: int, size: int) -> list[int]:
    """Where some rows are cut into pieces, by their lengths alone: every run makes the same batches.

    Arguments:
        tokens: of all rows.
        first, end: the rows.
        size: tokens of a piece, about.

    Returns:
        the first row of each piece.
    """
    rows = np.arange(first, end, dtype=np.uint32)
    before = np.cumsum(tokens.lengths(rows), dtype=np.int64) // size
    return [first, *(first + 1 + np.flatnonzero(np.diff(before))).tolist()]


def with_tokens(records: Records, encoder: DualEncoder, side: Side, layout: WorkLayout, reporter: Reporter) -> NDArray[np.bool_] | None:
    """Which texts have a token, and so a vector that is not zero: [n]; None where all have.

    Arguments:
        records, encoder, side, layout, reporter: as in `encode`.
    """
    tokens = token_store(records, encoder.side(side), side, layout, reporter)
    lengths = tokens.lengths(np.arange(len(records), dtype=np.uint32))
    return None if lengths.all() else lengths > 0


def encoder_identity(encoder: DualEncoder) -> dict[str, object]:
    """What decides an encoder's vectors, for manifests."""
    return {
        "query_weights": encoder.query.fingerprint,
        "passage_weights": encoder.passage.fingerprint,
        "settings": asdict(encoder.query.settings),
        **({"own_means": encoder.means.fingerprint} if encoder.means else {}),
    }
