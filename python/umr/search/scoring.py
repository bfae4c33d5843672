"""The score of a pair and the order of a list in torch: the same bits on every device as `rust/src/dot.rs` and `topk.rs` give."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from umr.data.candidates import PADDING
from umr.errors import ScoreError
from umr.search.lists import Lists

LANES = 8  # of rust/src/dot.rs
EMPTY_KEY = -2139095041 << 32  # of PADDING with score -inf; below all others


def pair_scores(left: Tensor, right: Tensor) -> Tensor:
    """Inner products of pairs: products exact in f64, eight interleaved lanes, a fixed tree, rounded once to f32.

    Arguments:
        left, right: [m, d] float32, on the same device.

    Returns:
        [m] float32; zero is never negative.
    """
    lanes = torch.zeros(len(left), LANES, dtype=torch.float64, device=left.device)
    for at in range(0, left.shape[1], LANES):  # one step of every lane, in order
        step = left[:, at : at + LANES].double() * right[:, at : at + LANES].double()
        lanes[:, : step.shape[1]] += step
    a, b, c, d, e, f, g, h = lanes.unbind(1)
    return (((a + e) + (c + g)) + ((b + f) + (d + h))).float() + 0.0


def require_scores(scores: Tensor, places: Tensor, rows: Tensor, first: int = 0) -> None:
    """Refuse scores [m] beyond float32: of queries `first` + `places` [m] with passages `rows` [m].

    Raises:
        ScoreError: names the first pair.
    """
    bad = torch.nonzero(~torch.isfinite(scores))
    if len(bad):
        at = int(bad[0, 0])
        what = f"query row {first + int(places[at])}, passage row {int(rows[at])}: overflow"
        raise ScoreError(what, "use an encoder with --similarity cosine: its vectors have length 1")


class Best:
    """The k best passages of some queries so far: score down, then row up. Each is one integer that grows with goodness.

    Arguments:
        queries: Q.
        k: length of a list.
        device: where the lists are.
    """

    def __init__(self, queries: int, k: int, device: torch.device) -> None:
        self.keys = torch.full((queries, k), EMPTY_KEY, dtype=torch.int64, device=device)

    def add(self, places: Tensor, rows: Tensor, scores: Tensor) -> None:
        """Offer passages to lists; a list must not be offered a row twice. Only those lists are looked at.

        Takes about 80 bytes for each place in them, and for each passage.

        Arguments:
            places: [m] int64 which list, from 0.
            rows: [m] int64 which passage.
            scores: [m] float32, none of them negative zero or NaN.
        """
        k = self.keys.shape[1]
        offered, places = torch.unique(places, return_inverse=True)
        numbers = torch.arange(len(offered), device=places.device)
        keys = torch.cat([self.keys[offered].reshape(-1), (_flipped(scores.view(torch.int32)).long() << 32) | (PADDING - rows)])
        keys, order = torch.sort(keys, descending=True)
        lists, again = torch.sort(torch.cat([numbers.repeat_interleave(k), places])[order], stable=True)
        rank = torch.arange(len(lists), device=places.device) - torch.searchsorted(lists, numbers)[lists]
        kept = rank < k  # k of every list, in order
        self.keys[offered] = keys[again][kept].reshape(-1, k)

    def kth_scores(self) -> Tensor:
        """[Q] float64 score of each list's last; -inf while it is not full."""
        return self._scores(self.keys[:, -1]).double()

    def lists(self) -> Lists:
        """The lists [Q, k], best first."""
        keys = self.keys.cpu()
        return Lists((PADDING - (keys & PADDING)).numpy().astype(np.uint32), self._scores(keys).numpy())

    @staticmethod
    def _scores(keys: Tensor) -> Tensor:
        return _flipped((keys >> 32).int()).view(torch.float32)


def _flipped(bits: Tensor) -> Tensor:
    """Bits of float32 as integers in the order of the numbers, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
