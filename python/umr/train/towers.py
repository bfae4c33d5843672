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
from umr.data.embeddings import Embeddings
from umr.data.workspace import Workspace
from umr.encoder.encode import MAX_ROWS, encode, token_store
from umr.encoder.encoder import DualEncoder, Encoder, Side
from umr.layout import RoundLayout
from umr.progress import Reporter
from umr.train.grad_cache import Chunk

if TYPE_CHECKING:
    from umr._rust import TokenStore

Rows = NDArray[np.uint32]


@dataclass(frozen=True)
class TrainingSide:
    """One side of the dual encoder in training.

    Arguments:
        tower: its encoder.
        tokens: token ids of its texts.
        frozen: its embeddings where it is not trained, else None.
    """

    tower: Encoder
    tokens: TokenStore
    frozen: Embeddings | None

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

    def fixed(self, rows: Rows) -> Tensor | None:
        """The stored vectors of a frozen side: [m, d], or None."""
        return None if self.frozen is None else torch.from_numpy(self.frozen.read(rows)).to(self.tower.device)


@dataclass(frozen=True)
class Towers:
    """Both sides, and the encoder that they will be saved as."""

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
    """Both sides ready for training.

    Arguments:
        workspace: the texts.
        place: the round.
        encoder: the round's encoder.
        config: what is frozen, whether to untie.
        mined: how the round was mined, which names the stored embeddings.
        reporter: shows what has to be made.
    """
    layout = workspace.layout
    records = {"query": workspace.queries.records, "passage": workspace.passages}
    frozen_side = {"none": None, "passages": "passage", "queries": "query"}[config.freeze]
    if encoder.tied and (config.untie or frozen_side):
        encoder = replace(encoder, query=copy.deepcopy(encoder.query))

    def side(name: Side) -> TrainingSide:
        tokens = token_store(records[name], encoder.tower(name), name, layout, reporter)
        frozen = encode(records[name], encoder, name, layout, mined, reporter) if name == frozen_side else None
        return TrainingSide(encoder.tower(name), tokens, frozen)

    what = {None: "both sides", "passage": "the query side", "query": "the passage side"}[frozen_side]
    reporter.say(f"training {what} of {place.folder.name}")
    return Towers(encoder, side("query"), side("passage"))
