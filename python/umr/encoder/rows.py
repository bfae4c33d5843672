"""Texts become token ids, kept on disk, and these become vectors, in batches of similar lengths."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr._rust import Records, TokenStore, fingerprint, plan_batches
from umr.encoder.settings import EncoderSettings
from umr.layout import WorkLayout
from umr.manifest import digest
from umr.models.feeding import prefetch, send
from umr.progress import Bar, Reporter, follow
from umr.sizes import free_memory
from umr.storage import beside

Side = Literal["query", "passage"]
Forward = Callable[[Tensor, Tensor], Tensor]
MAX_ROWS = {"cpu": 1024, "cuda": 8192}  # texts in one forward pass, however short
MULTIPLE = {"cpu": 1, "cuda": 16}  # of tokens that a batch is as wide as: a GPU's kernels want few and even shapes
CPU_TOKENS, GPU_TOKENS = 16384, 131072  # in one forward pass; more are no faster
FREE_SHARE = 0.5  # of a GPU's free memory
BYTES_PER_NUMBER = 80  # of working memory for each number of a token's vector: states, queries, keys, values, the wide layer in fp32


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
    bar: Bar | None = None,
    forward: Forward | None = None,
) -> NDArray[np.float32]:
    """Encode some rows in length-bucketed batches; vectors stay on the device until all of them are made.

    Arguments:
        encoder: of one side, in evaluation mode.
        tokens: the token store of its tokenizer.
        rows: [m] uint32.
        budget: padded tokens in one forward pass.
        bar: advanced by finished rows.
        forward: from token ids [b, L] and mask [b, L] to vectors [b, d]; None for the encoder in fp32.

    Returns:
        [m, d] float32, in the order of `rows`; zero for a text without a token.
    """
    vectors = np.zeros((len(rows), encoder.dimensions), dtype=np.float32)
    forward, made, at = forward or encoder, list[Tensor](), list[NDArray[np.uint32]]()
    for places, ids, mask in prefetch(token_batches(encoder, tokens, rows, budget), encoder.device):
        made.append(forward(ids, mask).float())  # [b, d]
        at.append(places)
        if bar:
            bar.advance(len(places))
    if made:
        vectors[np.concatenate(at)] = torch.cat(made).cpu().numpy()
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
    there, widths, order, bounds = _planned(encoder, tokens, rows, budget)
    for start, end in pairwise(bounds):
        places = there[order[start:end]].astype(np.uint32)
        ids, mask = tokens.gather(rows[places], encoder.pad)
        short = [(0, 0), (0, int(widths[order[start:end]].max()) - ids.shape[1])]
        ids, mask = np.pad(ids, short, constant_values=encoder.pad), np.pad(mask, short)
        yield places, send(ids, encoder.device), send(mask, encoder.device)


def padded_tokens(encoder: OneSide, tokens: TokenStore, rows: NDArray[np.uint32], budget: int) -> int:
    """Tokens of the batches of some texts, padding included.

    Arguments:
        encoder, tokens, rows, budget: as in `token_batches`.
    """
    _, widths, order, bounds = _planned(encoder, tokens, rows, budget)
    starts = bounds[:-1].astype(np.int64)
    return int((widths[order[starts]].astype(np.int64) * np.diff(bounds)).sum()) if len(order) else 0


def _planned(encoder: OneSide, tokens: TokenStore, rows: NDArray[np.uint32], budget: int) -> tuple[NDArray[Any], ...]:
    """Which texts have tokens, their widths, the order of these, longest first, and where batches begin and end in it."""
    lengths, kind = tokens.lengths(rows), encoder.device.type
    there = np.flatnonzero(lengths)
    widths = np.minimum(-(-lengths[there] // MULTIPLE[kind]) * MULTIPLE[kind], lengths.max(initial=0))
    return (there, widths, *plan_batches(widths, budget, MAX_ROWS[kind]))


def tokens_of_a_pass(asked: int | None, encoder: OneSide) -> int:
    """Padded tokens in one forward pass: as asked for, else what a processor's cache or a GPU's free memory suits.

    Arguments:
        asked: `batch_tokens` of the settings.
        encoder: of one side.
    """
    if asked or encoder.device.type == "cpu":
        return asked or CPU_TOKENS
    room = int(FREE_SHARE * free_memory(str(encoder.device))) // (BYTES_PER_NUMBER * encoder.dimensions)
    return max(CPU_TOKENS // 16, min(room, GPU_TOKENS))
