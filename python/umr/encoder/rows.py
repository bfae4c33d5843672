"""Texts become token ids, kept on disk, and these become vectors, in batches of similar lengths."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import Precision
from umr.encoder.settings import EncoderSettings
from umr.layout import WorkLayout
from umr.manifest import digest
from umr.models.device import autocast
from umr.progress import Bar, Reporter, follow
from umr.storage import beside

if TYPE_CHECKING:
    from umr._rust import Records, TokenStore

Side = Literal["query", "passage"]
MAX_ROWS = 1024  # texts in one forward pass, however short


class OneSide(Protocol):
    """What is needed of the encoder of one side."""

    settings: EncoderSettings
    tokenizer: Any

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def dimensions(self) -> int:
        """d, the length of a vector."""

    @property
    def pad(self) -> int:
        """The token id that fills a row."""

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors [b, d] of token ids [b, L] under a mask [b, L]."""


def token_store(records: Records, encoder: OneSide, side: Side, layout: WorkLayout, reporter: Reporter) -> TokenStore:
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
        with beside(path) as part:
            part.write_text(tokenizer, encoding="utf-8")
        with follow(reporter, f"tokenising {side} texts", len(records), "texts") as counter:
            return TokenStore.build(records, str(path), str(folder), counter=counter, **options)


@torch.inference_mode()
def encode_rows(
    encoder: OneSide,
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
    encoder: OneSide, tokens: TokenStore, rows: NDArray[np.uint32], budget: int
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
