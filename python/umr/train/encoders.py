"""What is trained and what is frozen: a frozen side is its embeddings, read from the round's store and never encoded."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr._rust import TokenStore
from umr.config import MineConfig, TrainConfig
from umr.data.embeddings import Embeddings
from umr.data.workspace import Workspace
from umr.encoder.centre import languages_for, means_for, passage_groups
from umr.encoder.encode import encode
from umr.encoder.encoder import DualEncoder, Encoder
from umr.encoder.export import save_encoder
from umr.encoder.load import load_encoder, weights_fingerprint
from umr.encoder.means import Means
from umr.encoder.rows import Side, token_batches, token_store
from umr.models.feeding import send
from umr.progress import Reporter
from umr.train.batches import Rows
from umr.train.grad_cache import Chunk
from umr.train.weights import set_up


@dataclass(frozen=True)
class FixedMeans:
    """What the round was centred with; it stays as it is while the encoders learn.

    Arguments:
        table: [G, d] means.
        groups: [n] for each text the row of its mean.
        normalise: whether centred vectors are made of length 1 again.
        whitening: [d, d] what they are multiplied by before, or None.
    """

    table: Tensor
    groups: NDArray[np.int64]
    normalise: bool
    whitening: Tensor | None

    def apply(self, vectors: Tensor, groups: Tensor) -> Tensor:
        """The vectors [m, d] of some texts, centred; `groups` [m] are the rows of their means."""
        moved = vectors - self.table[groups]
        moved = moved if self.whitening is None else moved @ self.whitening
        return torch.nn.functional.normalize(moved, dim=-1) if self.normalise else moved


@dataclass(frozen=True)
class SideInputs:
    """The texts of one side in a batch, on the encoder's device.

    Arguments:
        size: m texts.
        chunks: what is encoded of them; none of a frozen side.
        frozen: [m, d] vectors of a frozen side, else None.
        groups: [m] rows of the means, else None.
    """

    size: int
    chunks: list[Chunk]
    frozen: Tensor | None
    groups: Tensor | None

    @property
    def tokens(self) -> int:
        """Tokens that are encoded, padding included."""
        return sum(chunk.ids.numel() for chunk in self.chunks)


@dataclass(frozen=True)
class TrainingSide:
    """One side of the dual encoder in training.

    Arguments:
        encoder: of this side.
        tokens: token ids of its texts.
        frozen: its embeddings where it is not trained, else None.
        means: what is subtracted from its vectors, else None.
    """

    encoder: Encoder
    tokens: TokenStore
    frozen: Embeddings | None
    means: FixedMeans | None = None

    def inputs(self, rows: Rows, budget: int, seed: int) -> SideInputs:
        """What is computed with of some texts, in length-bucketed chunks.

        Arguments:
            rows: [m] rows of the texts.
            budget: padded tokens a chunk.
            seed: base of the chunks' dropout seeds.
        """
        device = self.encoder.device
        groups = None if self.means is None else send(self.means.groups[rows], device)
        if self.frozen is not None:
            return SideInputs(len(rows), [], send(self.frozen.read(rows), device), groups)
        batches = enumerate(token_batches(self.encoder, self.tokens, rows, budget))
        chunks = [Chunk(ids, mask, send(places.astype(np.int64), device), seed + n) for n, (places, ids, mask) in batches]
        return SideInputs(len(rows), chunks, None, groups)

    def compared(self, vectors: Tensor, inputs: SideInputs) -> Tensor:
        """What the similarities are made of: a frozen side's stored vectors, else the encoder's; centred as the round was.

        Arguments:
            vectors: [m, d] of the encoder; not looked at where the side is frozen.
            inputs: of the texts.
        """
        vectors = vectors if inputs.frozen is None else inputs.frozen
        return vectors if self.means is None or inputs.groups is None else self.means.apply(vectors, inputs.groups)


@dataclass(frozen=True)
class TrainingEncoders:
    """Both sides in training, and the dual encoder that they are saved as, its means included."""

    dual: DualEncoder
    query: TrainingSide
    passage: TrainingSide

    def trained(self) -> dict[str, Encoder]:
        """The encoders with gradients, by name; a tied one once."""
        if self.dual.tied:
            return {"encoder": self.dual.query}
        sides = {"query": self.query, "passage": self.passage}
        return {name: side.encoder for name, side in sides.items() if side.frozen is None}


def prepare(workspace: Workspace, encoder: DualEncoder, config: TrainConfig, mined: MineConfig, reporter: Reporter) -> TrainingEncoders:
    """Both sides ready for training, centred as the round was mined.

    Arguments:
        workspace: the texts.
        encoder: the round's encoder.
        config: what is frozen, whether to untie.
        mined: how the round was mined, which names the stored embeddings and the centring.
        reporter: shows what has to be made.
    """
    layout = workspace.layout
    records = {"query": workspace.queries.records, "passage": workspace.passages}
    frozen_side = {"none": None, "passages": "passage", "queries": "query"}[config.freeze]
    if encoder.tied and (config.untie or frozen_side):
        encoder = replace(encoder, query=copy.deepcopy(encoder.query))
    means = means_for(workspace.passages, workspace.queries, encoder, layout, mined, reporter)

    def side(name: Side) -> TrainingSide:
        own = encoder.side(name)
        tokens = token_store(records[name], own, name, layout, reporter)
        frozen = encode(records[name], encoder, name, layout, mined, reporter) if name == frozen_side else None
        return TrainingSide(own, tokens, frozen, _fixed(workspace, name, means, own.device, reporter) if means else None)

    made = TrainingEncoders(replace(encoder, means=means), side("query"), side("passage"))
    for own in made.trained().values():
        set_up(own, config)
    what = {None: "both sides", "passage": "the query side", "query": "the passage side"}[frozen_side]
    reporter.say(f"training {what}" + (f", centred ({means.centre})" if means else ""))
    return made


def reloaded(trained: DualEncoder, folder: Path, device: torch.device) -> DualEncoder:
    """An encoder that was sharded, saved and loaded again: it can be called, by one process too.

    Arguments:
        trained: both sides, with whole weights.
        folder: for the files between.
        device: where the weights go.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        save_encoder(trained, Path(name) / "encoder")
        return load_encoder(str(Path(name) / "encoder"), device)


def centred_anew(workspace: Workspace, trained: DualEncoder, config: TrainConfig, mined: MineConfig, reporter: Reporter) -> DualEncoder:
    """A trained encoder with means of its own vectors: training moves the queries', and what was their mean with them.

    Where the passages are frozen their vectors are there already, and only the queries are encoded. Where they are trained the encoder
    keeps the means that it was trained with.

    Arguments:
        workspace: the texts.
        trained: both sides after the training.
        config, mined: as `prepare` takes them.
        reporter: shows what is encoded.
    """
    if trained.means is None or config.freeze != "passages" or mined.centre == "off":
        return trained
    trained.query.fingerprint = weights_fingerprint(trained.query.model)
    bare = replace(trained, means=None)
    return replace(trained, means=means_for(workspace.passages, workspace.queries, bare, workspace.layout, mined, reporter))


def _fixed(workspace: Workspace, name: Side, means: Means, device: torch.device, reporter: Reporter) -> FixedMeans:
    if name == "query":
        groups = means.queries.groups(workspace.queries.langs)
    else:
        languages = languages_for(means, workspace.passages, workspace.layout, reporter)
        groups = passage_groups(means, workspace.passages, languages)
    whitening = None if means.whitening is None else torch.from_numpy(means.whitening).to(device)
    return FixedMeans(torch.from_numpy(means.side(name).table).to(device), groups, means.normalise, whitening)
