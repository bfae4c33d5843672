"""Pairs that need a score, each once, grouped by the passage they share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import Candidates
from umr.data.workspace import Workspace
from umr.label.work import Group, Question

READ_AHEAD = 4096  # passages whose texts are read at once


def unique_missing(scores: NDArray[np.float32], query_keys: NDArray[np.uint64], passage_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Numbers of the pairs without a score; of pairs with the same content only the first.

    Arguments:
        scores: [P] float32, NaN where there is none.
        query_keys, passage_keys: [P, 2] content keys.
    """
    missing = np.flatnonzero(np.isnan(scores))
    keys = np.concatenate([query_keys[missing], passage_keys[missing]], axis=1)  # [m, 4]
    _, first = np.unique(keys, axis=0, return_index=True)
    return missing[np.sort(first)]


def groups_of(workspace: Workspace, pairs: NDArray[np.int64], candidates: Candidates) -> Iterator[Group]:
    """Pairs grouped by passage, in order of passage row, then of query.

    Arguments:
        workspace: gives the texts.
        pairs: numbers of pairs; pair = query x k + rank.
        candidates: whose pairs.
    """
    k = candidates.rows.shape[1]
    rows = candidates.rows.reshape(-1)[pairs]
    order = np.lexsort((pairs, rows))
    starts = np.flatnonzero(np.diff(rows[order], prepend=np.int64(-1)))
    texts = workspace.queries.texts()
    bounds = [*starts.tolist(), len(order)]
    for ahead in range(0, len(starts), READ_AHEAD):
        block = starts[ahead : ahead + READ_AHEAD]
        passages = workspace.passages.texts(rows[order[block]].astype(np.uint32))
        for number, (title, text) in enumerate(passages, start=ahead):
            members = pairs[order[bounds[number] : bounds[number + 1]]]
            yield Group(title, text, [Question(int(p), texts[p // k], candidates.langs[p // k]) for p in members])


def sample(groups: Iterator[Group]) -> list[Group]:
    """Two groups for the scorer's check of itself, long ones with several questions: what a window or a mask could spoil."""
    some = list(islice(groups, READ_AHEAD))
    return sorted(some, key=lambda group: (min(len(group.questions), 2), len(group.text)), reverse=True)[:2]
