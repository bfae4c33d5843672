"""Rows: trees laid out for a forward pass, so that each query is computed as if it stood alone behind its passage.

Branches that begin alike (the language's name, often the first words of a query) share these tokens too: every beginning
stands once. Tokens stand depth first, so that a token is seen by the tokens behind it up to one place, where what continues
it ends. The last token of a branch is predicted, never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umr.label.scorers.trees import Branch, Tree

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """B rows of W tokens, each one tree, padded at its end.

    Arguments:
        ids: [B, W] token ids.
        positions: [B, W] how many tokens a token sees beside itself.
        ends: [B, W] the token at place j is seen by those at places i with j <= i < ends[j]; padding sees itself alone.
        predict: [m] places in the flattened rows that predict a target, each once, ascending.
        state_of: [t] index into `predict` for every target token: branches that begin alike share a place.
        targets: [t] target ids, one branch after the other.
        counts: [n] target tokens of every branch, in order of trees and branches.
    """

    ids: Ints
    positions: Ints
    ends: Ints
    predict: Ints
    state_of: Ints
    targets: Ints
    counts: Ints


def lay_out(trees: Sequence[Tree], multiple: int = 1) -> Rows:
    """Lay each tree out in a row; what is done for each token is done in NumPy.

    Arguments:
        trees: B of them.
        multiple: the width of the rows is rounded up to it, so that few different shapes occur.
    """
    branches = [branch for tree in trees for branch in tree.branches]  # n
    tree_of = np.repeat(np.arange(len(trees)), [len(tree.branches) for tree in trees])  # [n]
    order = np.array(sorted(range(len(branches)), key=lambda n: (tree_of[n], branches[n].ids)), dtype=np.int64)
    read = [branches[n].ids[:-1] for n in order]  # neighbours begin alike
    ids, keep = padded(read)  # [n, D] both
    lengths, shared = keep.sum(axis=1), _shared(ids, keep, tree_of)  # [n]
    trunks = np.array([len(tree.trunk) for tree in trees], dtype=np.int64)
    sizes = trunks + np.bincount(tree_of, lengths - shared, len(trees)).astype(np.int64)  # [B]
    width = -(-int(sizes.max(initial=1)) // multiple) * multiple
    starts, depth = np.arange(len(trees)) * width, np.arange(ids.shape[1])  # places count through all rows
    begin = (starts + trunks)[tree_of] + _before(lengths - shared, tree_of)  # [n] of the first token that a branch adds
    new = (depth >= shared[:, None]) & keep  # [n, D]
    places = np.maximum.accumulate(np.where(new, begin[:, None] + depth - shared[:, None], -1), axis=0)
    flat = np.zeros((3, len(trees) * width), dtype=np.int64)  # ids, positions and ends
    flat[2] = np.arange(1, len(trees) * width + 1)
    trunk = np.repeat(starts, trunks) + _count_up(trunks)
    flat[:, trunk] = [token for tree in trees for token in tree.trunk], _count_up(trunks), np.repeat(starts + sizes, trunks)
    flat[:, places[new]] = ids[new], (trunks[tree_of][:, None] + depth)[new], _ends(begin, shared, depth, (starts + sizes)[tree_of])[new]
    flat[2] -= np.repeat(starts, width)
    paths = np.empty((len(branches), 1 + ids.shape[1]), dtype=np.int64)
    paths[order] = np.concatenate([(starts + trunks - 1)[tree_of][:, None], places], axis=1)
    laid, positions, ends = flat.reshape(3, len(trees), width)
    return Rows(laid, positions, ends, *_predicted(paths, branches))


def padded(texts: Sequence[list[int]]) -> tuple[Ints, NDArray[np.bool_]]:
    """Token ids [n, D] filled up with zeros, and which of them [n, D] are the texts' own."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    keep = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids = np.zeros(keep.shape, dtype=np.int64)
    ids[keep] = [token for text in texts for token in text]
    return ids, keep


def _shared(ids: Ints, keep: NDArray[np.bool_], tree_of: Ints) -> Ints:
    """Tokens [n] that each branch begins with as the branch before it in its tree does."""
    same = (ids[1:] == ids[:-1]) & keep[1:] & keep[:-1]
    alike = np.cumprod(same, axis=1).sum(axis=1) * (tree_of[1:] == tree_of[:-1])
    return np.concatenate([np.zeros(min(1, len(ids)), dtype=np.int64), alike])


def _before(values: Ints, tree_of: Ints) -> Ints:
    """[n] sums of the values that stand before each one in its tree."""
    sums = np.cumsum(values) - values
    return sums - sums[np.searchsorted(tree_of, tree_of)]


def _ends(begin: Ints, shared: Ints, depth: Ints, tree_ends: Ints) -> Ints:
    """[n, D] where the tokens end that continue each one: where the next branch begins that parts from it, or with its tree."""
    parts = np.concatenate([shared[1:, None] <= depth, np.ones((1, len(depth)), dtype=bool)])
    stops = np.minimum(np.concatenate([begin[1:], tree_ends[-1:]]), tree_ends)  # another tree's branch begins behind this one's end
    found = np.where(parts, stops[:, None], np.iinfo(np.int64).max)
    return np.minimum.accumulate(found[::-1], axis=0)[::-1]


def _predicted(paths: Ints, branches: Sequence[Branch]) -> tuple[Ints, Ints, Ints, Ints]:
    """What predicts every target token, of paths [n, 1 + D] of places: `predict`, `state_of`, `targets` and `counts` of `Rows`."""
    counts, lengths = (np.array(values, dtype=np.int64) for values in ([b.targets for b in branches], [len(b.ids) for b in branches]))
    owner = np.repeat(np.arange(len(branches)), counts)
    predict, state_of = np.unique(paths[owner, (lengths - counts)[owner] + _count_up(counts)], return_inverse=True)
    targets = np.array([token for branch in branches for token in branch.ids[-branch.targets :]], dtype=np.int64)
    return predict, state_of.reshape(-1).astype(np.int64), targets, counts


def _count_up(lengths: Ints) -> Ints:
    """0, 1, ... for each length, one behind the other."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
