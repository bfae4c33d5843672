"""What is done with ranked lists: merged, looked through, and closed up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING
from umr.search.lists import Bools, Ints, Rows

BLOCK_PLACES = 4_000_000  # of lists in work at once


def blocks(count: int, width: int) -> Iterator[slice]:
    """Queries that are worked on together, so that memory does not grow with their number.

    Arguments:
        count: of the queries.
        width: places of one query.
    """
    step = max(1, BLOCK_PLACES // max(1, width))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def interleave(rows: Sequence[Rows]) -> Rows:
    """The merging rule: the first of every list in turn, then the second of every one, and so on; each passage once.

    A passage stands where it came first. So the merged list of longer lists begins with that of shorter ones, whatever the
    scores mean.

    Arguments:
        rows: S arrays [Q, w] of one shape.

    Returns:
        [Q, S * w] uint32, padded at the end.
    """
    if len(rows) == 1:
        return rows[0]
    woven = np.stack(rows, axis=2).reshape(len(rows[0]), -1)
    return compact(woven, firsts(woven) & (woven != PADDING), woven.shape[1])


def firsts(values: NDArray[Any]) -> Bools:
    """[Q, w] whether a value is the first of its kind in its row."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    new = np.ones(values.shape, dtype=np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    found = np.empty_like(new)
    np.put_along_axis(found, order, new, axis=1)
    return found


def compact(values: NDArray[Any], keep: Bools, width: int, empty: float = PADDING) -> NDArray[Any]:
    """The kept values of each row, in order, at most `width`.

    Arguments:
        values: [Q, w] of any dtype.
        keep: [Q, w] which.
        width: of the result.
        empty: fills up.

    Returns:
        [Q, width].
    """
    places = np.argsort(~keep, axis=1, kind="stable")[:, :width]
    found = np.full((len(values), width), empty, dtype=values.dtype)
    chosen = np.take_along_axis(values, places, axis=1)
    found[:, : places.shape[1]] = np.where(np.take_along_axis(keep, places, axis=1), chosen, empty)
    return found


def places_of(rows: Rows, wanted: Rows) -> Ints:
    """Where passages stand in the lists of their queries.

    Arguments:
        rows: [Q, w] lists, no passage twice in one.
        wanted: [Q, v] rows of the corpus.

    Returns:
        [Q, v] int64 places from 0, -1 where the list does not hold the passage; -1 for padding.
    """
    query = np.arange(len(rows), dtype=np.uint64)[:, None] << np.uint64(32)
    keys, asked = (query | rows).reshape(-1), (query | wanted).reshape(-1)
    if not len(keys):
        return np.full(wanted.shape, -1, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    at = order[np.minimum(np.searchsorted(keys, asked, sorter=order), len(keys) - 1)]
    found = np.where((keys[at] == asked) & (wanted.reshape(-1) != PADDING), at % rows.shape[1], -1)
    return found.reshape(wanted.shape)
