"""What is trained and what is frozen: a frozen side is its embeddings, read from the round's store and never encoded."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umr.config import MineConfig, TrainConfig
from umr.data.corpus_langs import corpus_languages
from umr.data.embeddings import Embeddings
from umr.data.means import Means
from umr.data.workspace import Workspace
from umr.encoder.centre import means_for
from umr.encoder.encode import MAX_ROWS, encode, token_store
from umr.encoder.encoder import DualEncoder, Encoder, Side
from umr.layout import RoundLayout
from umr.progress import Reporter
from umr.train.grad_cache import Chunk

if TYPE_CHECKING:
    from umr._rust import TokenStore

Rows = NDArray[np.uint32]


@dataclass(frozen=True)
class FixedMeans:
    """What the round was centred with; it stays as it is while the towers learn.

    Arguments:
        table: [G, d] means.
        groups: [n] for each text the row of its mean.
        normalise: whether centred vectors are made of length 1 again.
    """

    table: Tensor
    groups: NDArray[np.int64]
    normalise: bool

    def apply(self, vectors: Tensor, rows: Rows) -> Tensor:
        """The vectors [m, d] of some texts, centred."""
        moved = vectors - self.table[torch.from_numpy(self.groups[rows]).to(self.table.device)]
        return torch.nn.functional.normalize(moved, dim=-1) if self.normalise else moved


@dataclass(frozen=True)
class TrainingSide:
    """One side of the dual encoder in training.

    Arguments:
        tower: its encoder.
        tokens: token ids of its texts.
        frozen: its embeddings where it is not trained, else None.
        centre: what is subtracted from its vectors, else None.
    """

    tower: Encoder
    tokens: TokenStore
    frozen: Embeddings | None
    centre: FixedMeans | None = None

    def chunks(self, rows: Rows, budget: int, seed: int) -> list[Chunk]:
        """Length-bucketed chunks of some texts; none for a frozen side.

        Arguments:
            rows: [m] rows of the texts.
            budget: padded tokens a chunk.
            seed: base of the chunks' dropout seeds.
        """
        from umr._rust import plan_batches

        if self.frozen is not None:
            return []
        order, bounds = plan_batches(self.tokens.lengths(rows), budget, MAX_ROWS)
        return [self._chunk(rows, order[a:b], seed + i) for i, (a, b) in enumerate(pairwise(bounds))]

    def _chunk(self, rows: Rows, places: Rows, seed: int) -> Chunk:
        ids, mask = self.tokens.gather(rows[places], self.tower.pad)
        device = self.tower.device
        return Chunk(
            torch.from_numpy(ids).to(device),
            torch.from_numpy(mask).to(device),
            torch.from_numpy(places.astype(np.int64)).to(device),
            seed,
        )

    def compared(self, vectors: Tensor, rows: Rows) -> Tensor:
        """What the similarities are made of: a frozen side's stored vectors, else those of the tower; centred as the round was.

        Arguments:
            vectors: [m, d] of the tower; not looked at where the side is frozen.
            rows: [m] rows of the texts.
        """
        if self.frozen is not None:
            vectors = torch.from_numpy(self.frozen.read(rows)).to(self.tower.device)
        return vectors if self.centre is None else self.centre.apply(vectors, rows)


@dataclass(frozen=True)
class Towers:
    """Both sides, and the encoder that they will be saved as, its means included."""

    encoder: DualEncoder
    query: TrainingSide
    passage: TrainingSide

    def trained(self) -> dict[str, Encoder]:
        """The towers with gradients, by name; a tied one once."""
        if self.encoder.tied:
            return {"encoder": self.encoder.query}
        sides = {"query": self.query, "passage": self.passage}
        return {name: side.tower for name, side in sides.items() if side.frozen is None}


def prepare(
    workspace: Workspace,
    place: RoundLayout,
    encoder: DualEncoder,
    config: TrainConfig,
    mined: MineConfig,
    reporter: Reporter,
) -> Towers:
    """Both sides ready for training, in the space that the round was mined in.

    Arguments:
        workspace: the texts.
        place: the round.
        encoder: the round's encoder.
        config: what is frozen, whether to untie.
        mined: how the round was mined, which names the stored embeddings and the centring.
        reporter: shows what has to be made.
    """
    layout = workspace.layout
    records = {"query": workspace.queries.records, "passage": workspace.passages}
    frozen_side = {"none": None, "passages": "passage", "queries": "query"}[config.freeze]
    means = means_for(workspace.passages, workspace.queries, encoder, layout, mined, reporter)
    if encoder.tied and (config.untie or frozen_side):
        encoder = replace(encoder, query=copy.deepcopy(encoder.query))

    def side(name: Side) -> TrainingSide:
        tower = encoder.tower(name)
        tokens = token_store(records[name], tower, name, layout, reporter)
        frozen = encode(records[name], encoder, name, layout, mined, reporter) if name == frozen_side else None
        centre = _fixed(workspace, name, means, reporter, tower.device) if means else None
        return TrainingSide(tower, tokens, frozen, centre)

    what = {None: "both sides", "passage": "the query side", "query": "the passage side"}[frozen_side]
    reporter.say(f"training {what} of {place.folder.name}" + (f", centred ({means.centre})" if means else ""))
    return Towers(replace(encoder, means=means), side("query"), side("passage"))


def _fixed(workspace: Workspace, name: Side, means: Means, reporter: Reporter, device: torch.device) -> FixedMeans:
    rows = len(workspace.queries) if name == "query" else len(workspace.passages)
    groups = np.zeros(rows, dtype=np.int64)
    if means.centre == "language" and name == "query":
        groups = means.queries.groups(workspace.queries.langs)
    elif means.centre == "language":
        languages = corpus_languages(workspace.passages, workspace.layout, reporter)
        groups = means.passages.groups(languages.codes)[languages.numbers]
    return FixedMeans(torch.from_numpy(means.side(name).table).to(device), groups, means.normalise)
