"""Texts become embeddings: every row exactly once, in corpus order, restartable shard by shard."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from umr.config import MineConfig
from umr.data.embeddings import Embeddings
from umr.encoder.encoder import DualEncoder
from umr.encoder.rows import Side, encode_rows, token_store
from umr.errors import ScoreError
from umr.layout import WorkLayout
from umr.manifest import digest
from umr.models.device import settle_precision
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr._rust import Records, TokenStore

PIECE_TOKENS = 1 << 18  # of a piece: a minute or less of a base model on two cores, five of a large one


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

        store.fill(finite, bar, lambda first, end: pieces(tokens, first, end))
    return store


def pieces(tokens: TokenStore, first: int, end: int) -> list[int]:
    """Where some rows are cut into pieces of `PIECE_TOKENS`, by their lengths alone: every run makes the same batches.

    Arguments:
        tokens: of all rows.
        first, end: the rows.

    Returns:
        the first row of each piece.
    """
    rows = np.arange(first, end, dtype=np.uint32)
    before = np.cumsum(tokens.lengths(rows), dtype=np.int64) // PIECE_TOKENS
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
