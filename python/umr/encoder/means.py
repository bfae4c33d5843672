"""Mean vectors, one a side or one a language, and what centring does with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from umr.config import Centre
from umr.errors import FormatError
from umr.manifest import digest
from umr.storage import beside

FEWEST = 16  # texts of a language that have a mean of their own: the mean of fewer is more chance than language
SHRINK = 0.05  # share of a second moment that is taken to be the same in every direction
BLOCK = 8192  # vectors that are computed at once in float64
TINY = 1e-12  # a shorter vector has no direction and stays as it is, near zero

Vectors = NDArray[np.float32]
Numbers = NDArray[Any]
"""Integers, places in a list."""


@dataclass(frozen=True)
class SideMeans:
    """The means of one side.

    Arguments:
        table: [1 + L, d] float32: the mean over all texts, then one of each language.
        langs: the L language codes, ascending; none where there is one mean for all.
    """

    table: Vectors
    langs: tuple[str, ...] = ()

    def groups(self, codes: Sequence[str]) -> NDArray[np.int64]:
        """The row of the table for each language code: [m]; 0, the mean over all, for a language without one of its own.

        Where many texts share few languages, the codes of these, indexed by the texts' numbers, are the quick way.
        """
        place = {code: row for row, code in enumerate(self.langs, start=1)}
        return np.array([place.get(code, 0) for code in codes], dtype=np.int64)


@dataclass(frozen=True)
class Means:
    """What is subtracted from the vectors of an encoder.

    Arguments:
        centre: `global` or `language`.
        normalise: whether centred vectors are made of length 1 again (cosine).
        passages, queries: the means of the two sides.
        made_from: what decides them, fingerprints of the texts and of their vectors included.
        whitening: [d, d] symmetric, what centred vectors are multiplied by; None leaves them as they are.
    """

    centre: Centre
    normalise: bool
    passages: SideMeans
    queries: SideMeans
    made_from: Mapping[str, Any]
    whitening: Vectors | None = None

    @property
    def fingerprint(self) -> str:
        """What the means were estimated from, as one name."""
        return digest(self.made_from)

    def side(self, side: Literal["query", "passage"]) -> SideMeans:
        """The means of the queries or of the passages."""
        return self.queries if side == "query" else self.passages

    def apply(self, vectors: Vectors, side: Literal["query", "passage"], groups: NDArray[np.int64]) -> Vectors:
        """The vectors [m, d] of one side, centred; `groups` [m] are the rows of their means."""
        return centred(vectors, self.side(side).table, groups, self.normalise, self.whitening)


def centred(vectors: Vectors, table: Vectors, groups: NDArray[np.int64], normalise: bool, whitening: Vectors | None = None) -> Vectors:
    """Vectors less their mean, whitened and of length 1 again where asked; in float64, rounded once. A zero vector, of an empty
    text, stays.

    Arguments:
        vectors: [m, d] float32.
        table: [G, d] float32 means.
        groups: [m] rows of the table.
        normalise: whether lengths are made 1.
        whitening: [d, d] float32, or None.
    """
    found, wide = np.empty_like(vectors), None if whitening is None else whitening.astype(np.float64)
    for first in range(0, len(vectors), BLOCK):
        part = slice(first, first + BLOCK)
        moved = vectors[part].astype(np.float64) - table[groups[part]]
        if wide is not None:
            moved = moved @ wide
        if normalise:
            moved /= np.maximum(np.sqrt((moved**2).sum(axis=1, keepdims=True)), TINY)
        moved[~vectors[part].any(axis=1)] = 0
        found[part] = moved
    return found


def estimate(blocks: Iterable[tuple[Vectors, Numbers | None]], dimensions: int, codes: Sequence[str] = ()) -> SideMeans:
    """The means of vectors that come in blocks, summed in float64 in their order.

    Arguments:
        blocks: vectors [m, d] float32 and, for each of them, the place [m] of its language in `codes`; None for one mean over all.
        dimensions: d.
        codes: the languages. (default: one mean over all)

    Returns:
        the mean over all, and one of each language that has at least FEWEST texts.
    """
    total, number = np.zeros(dimensions), 0
    sums, counts = np.zeros((len(codes), dimensions)), np.zeros(len(codes), dtype=np.int64)
    for vectors, numbers in blocks:
        total += vectors.sum(axis=0, dtype=np.float64)
        number += len(vectors)
        if numbers is not None:
            order, here = np.argsort(numbers, kind="stable"), np.bincount(numbers, minlength=len(codes))
            for place, rows in enumerate(np.split(order, np.cumsum(here)[:-1])):
                sums[place] += vectors[rows].sum(axis=0, dtype=np.float64)
            counts += here
    langs = sorted((code, place) for place, code in enumerate(codes) if counts[place] >= FEWEST)
    table = [total / max(1, number), *(sums[place] / counts[place] for _, place in langs)]
    return SideMeans(np.stack(table).astype(np.float32), tuple(code for code, _ in langs))


def whitening_of(sides: Iterable[Iterable[Vectors]], dimensions: int, strength: float) -> Vectors:
    """What makes the variances of centred vectors more alike (ZCA whitening; Kessy et al. 2018, arXiv 1512.00809).

    W = S^(-strength / 2), with S the mean of the sides' second moments, shrunk by SHRINK towards as much variance in every direction:
    few texts say little of the directions in which they vary least. W leaves the sum of the variances as it is.

    Arguments:
        sides: of each side its centred vectors, in blocks [m, d].
        dimensions: d.
        strength: above 0; 1 makes all variances alike.

    Returns:
        [d, d] float32, symmetric.
    """
    moment = np.mean([_second_moment(blocks, dimensions) for blocks in sides], axis=0)
    variance = max(np.trace(moment) / dimensions, TINY)
    values, directions = np.linalg.eigh((1 - SHRINK) * moment + SHRINK * variance * np.eye(dimensions))
    found = (directions * values ** (-strength / 2)) @ directions.T
    found *= np.sqrt(dimensions * variance / max(np.trace(found @ moment @ found), TINY))
    symmetric: Vectors = ((found + found.T) / 2).astype(np.float32)
    return symmetric


def _second_moment(blocks: Iterable[Vectors], dimensions: int) -> NDArray[np.float64]:
    total, number = np.zeros((dimensions, dimensions)), 0
    for vectors in blocks:
        wide = vectors.astype(np.float64)
        total += wide.T @ wide
        number += len(vectors)
    return total / max(1, number)


def filled(own: SideMeans, other: SideMeans) -> SideMeans:
    """The means of a side, with one for each language that the other side alone has enough texts of.

    It is the other side's mean, moved by what lies between the sides: the mean difference over the languages that both have,
    or else between the means over all. Without it a query is left in its language's corner while the passages of that language
    have been moved out of theirs.

    Arguments:
        own, other: the means of the two sides.
    """
    both = sorted(set(own.langs) & set(other.langs))
    lacking = sorted(set(other.langs) - set(own.langs))
    rows = own.table[own.groups(both)] - other.table[other.groups(both)] if both else own.table[:1] - other.table[:1]
    between = np.mean(rows, axis=0, dtype=np.float64)
    found = dict(zip(own.langs, own.table[1:], strict=True))
    found |= {lang: (other.table[row] + between).astype(np.float32) for lang, row in zip(lacking, other.groups(lacking), strict=True)}
    return SideMeans(np.stack([own.table[0], *(found[lang] for lang in sorted(found))]), tuple(sorted(found)))


def write_means(path: Path, means: Means) -> None:
    """Write means as one safetensors file, whole or not at all."""
    from safetensors.numpy import save_file

    record = {
        "centre": means.centre, "normalise": means.normalise, "made_from": dict(means.made_from),
        "passage_langs": means.passages.langs, "query_langs": means.queries.langs,
    }  # fmt: skip
    with beside(path) as temporary:
        tensors = {"passage": means.passages.table, "query": means.queries.table}
        tensors |= {} if means.whitening is None else {"whitening": means.whitening}
        save_file(tensors, temporary, {"umr_means": json.dumps(record, ensure_ascii=False)})


def read_means(path: Path) -> Means:
    """Read means.

    Raises:
        FormatError: the file is not one of means.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            record = json.loads((file.metadata() or {})["umr_means"])
            passages, queries = (file.get_tensor(side).astype(np.float32) for side in ("passage", "query"))
            whitening = file.get_tensor("whitening").astype(np.float32) if "whitening" in file.keys() else None  # noqa: SIM118
        sides = (SideMeans(passages, tuple(record["passage_langs"])), SideMeans(queries, tuple(record["query_langs"])))
        agree = all(side.table.ndim == 2 and len(side.table) == 1 + len(side.langs) for side in sides)
        if not agree or record["centre"] not in ("global", "language"):
            raise ValueError("tables and languages do not agree")
        if whitening is not None and whitening.shape != (passages.shape[1],) * 2:
            raise ValueError("the whitening is of another size")
        return Means(record["centre"], bool(record["normalise"]), *sides, record["made_from"], whitening)
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise FormatError(f"{path}: not a file of means ({error})", "remove it and run the stage again") from error
