"""The dual encoder: one encoder a side, the same one twice when they are tied (paper, section 3.1; reference `BiEncoder`)."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umr._rust import Records
from umr.config import Pooling, Precision
from umr.encoder.means import Means
from umr.encoder.rows import Forward, Side, encode_rows, token_store, tokens_of_a_pass
from umr.encoder.settings import EncoderSettings
from umr.errors import UsageError
from umr.layout import WorkLayout
from umr.models.device import autocast
from umr.progress import Silent

MEANS = "umr_means.safetensors"  # what an encoder was centred with in training, beside its weights
TIED = "tied"  # key of umr_encoder.json: the folders of both sides hold the same weights


class Encoder(nn.Module):
    """The encoder of one side: token ids in, vectors out.

    Arguments:
        model: a transformers encoder whose output has `last_hidden_state`.
        tokenizer: its fast tokenizer.
        settings: everything else that decides a vector.
        fingerprint: of the weights.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, settings: EncoderSettings, fingerprint: str) -> None:
        super().__init__()
        self.model, self.tokenizer, self.settings, self.fingerprint = model, tokenizer, settings, fingerprint

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode a padded batch.

        Arguments:
            ids: [b, L] int64, right-padded.
            mask: [b, L] 1 for a token, 0 for padding.

        Returns:
            [b, d] float32 vectors, of length 1 when the similarity is cosine. Token types are all zero, titles included
            (as in the paper's code).
        """
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state  # [b, L, d]
        vectors = pool(hidden.float(), mask, self.settings.pooling)  # [b, d]
        return nn.functional.normalize(vectors, dim=-1) if self.settings.similarity == "cosine" else vectors

    def inference(self, precision: Precision) -> Forward:
        """The forward pass for encoding alone.

        Arguments:
            precision: fp32; or bf16, for which a GPU gets weights that are cast once, and a processor casts at every product.
        """
        if precision == "fp32":
            return self
        if self.device.type != "cpu":
            return self.halved()

        def forward(ids: Tensor, mask: Tensor) -> Tensor:
            with autocast(precision, self.device):
                return self(ids, mask)  # type: ignore[no-any-return]

        return forward

    def halved(self) -> Encoder:
        """A copy with all weights in bf16; vectors are pooled and normalised in fp32, and tables of positions are as they were."""
        model = copy.deepcopy(self.model)
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
        return Encoder(model, self.tokenizer, self.settings, self.fingerprint).eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dimensions(self) -> int:
        """d, the length of a vector."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def pad(self) -> int:
        """The token id that fills a row."""
        value = self.tokenizer.pad_token_id
        return int(value) if value is not None else 0


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool token vectors.

    Arguments:
        hidden: [b, L, d] token vectors, right-padded.
        mask: [b, L] 1 for a token, 0 for padding.
        pooling: `mean` over tokens, `cls` (the first) or `last` (the last token that is not padding).

    Returns:
        [b, d], same dtype.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # [b, L, 1]
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


@dataclass(frozen=True)
class DualEncoder:
    """The encoders of both sides; `query is passage` when they are tied.

    Arguments:
        query: encodes queries.
        passage: encodes passages.
        source: where the settings come from, in words.
        means: those that it was trained with; the vectors of `query` and `passage` are not centred.
    """

    query: Encoder
    passage: Encoder
    source: str = ""
    means: Means | None = None

    @property
    def tied(self) -> bool:
        """Whether both sides are the same weights."""
        return self.query is self.passage

    def __repr__(self) -> str:
        same = "the same weights on both sides" if self.tied else "two encoders"
        return f"DualEncoder({self.query.dimensions} dimensions, {same}; {self.query.settings.describe()})"

    def side(self, side: Side) -> Encoder:
        """The encoder of one side."""
        return self.query if side == "query" else self.passage

    def encode(self, texts: Sequence[str], side: Side, batch_tokens: int | None = None) -> NDArray[np.float32]:
        """Encode texts as mining encodes them; nothing is kept. The vectors are not centred.

        Arguments:
            texts: n queries, or n passages, whose titles (if any) stand before the text as the encoder's settings say.
            side: query or passage: decides the prefix, the length and, where they differ, the encoder.
            batch_tokens: padded tokens in one forward pass. (default: what suits the device)

        Returns:
            [n, d] float32 on the processor, of length 1 where the similarity is cosine.

        Raises:
            UsageError: `texts` is a single text, or there is no such side.
        """
        if isinstance(texts, str) or side not in get_args(Side):
            what = f"expected a list of texts and a side, got {type(texts).__name__} and {side!r}"
            raise UsageError(what, 'write encode([text], side="query")')
        rows = np.arange(len(texts), dtype=np.uint32)
        if not len(rows):
            return np.empty((0, self.query.dimensions), dtype=np.float32)
        records = Records.from_texts([str(row) for row in rows], list(texts), [""] * len(rows))
        with tempfile.TemporaryDirectory(prefix="umr-") as folder:
            tokens = token_store(records, self.side(side), side, WorkLayout(Path(folder)), Silent())
            return encode_rows(self.side(side), tokens, rows, tokens_of_a_pass(batch_tokens, self.side(side)))
