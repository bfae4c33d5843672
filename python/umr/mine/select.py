"""Which passages become candidates: sources are merged, what is not worth labelling is left out, and lists are filled from deeper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from umr.data.candidates import PADDING, Provenance
from umr.mine.duplicates import Duplicates
from umr.mine.lists import Bools, Floats, Ints, Lists, Rows, blocks, interleave, kept_first, places_of
from umr.mine.sources import EncoderSource, Source
from umr.progress import Reporter


@dataclass(frozen=True)
class Rules:
    """What is left out, in this order: own passages, low scores, repeated passages, first ranks.

    Arguments:
        k: candidates a query.
        own: [Q] row of the passage that a query was made from, -1 where none is left out.
        min_score: least score of the retriever; -inf for none.
        margin: most that a score may lie below the best one of the query; inf for none.
        duplicates: tells repeated passages.
        first_rank: rank, from 1, of the first candidate among what is left.
    """

    k: int
    own: Ints
    duplicates: Duplicates
    min_score: float = -np.inf
    margin: float = np.inf
    first_rank: int = 1

    @property
    def floors(self) -> bool:
        """Whether scores decide who is left out."""
        return bool(np.isfinite(self.min_score) or np.isfinite(self.margin))

    @property
    def depth(self) -> int:
        """Passages of a source that are looked at first; more where these do not fill the lists."""
        need = self.k + self.first_rank - 1 + int((self.own >= 0).any())
        return need if self.duplicates.kind == "off" else need + need // 4


@dataclass
class Chosen:
    """The candidates of all queries, in the order of the merged lists.

    Arguments:
        rows, scores: [Q, k] the candidates and the retriever's scores, padded at the end.
        passed: [Q, first_rank - 1] what was passed over for its rank.
        floor: [Q] the least score that the query takes.
        ranks, found: [S, Q, k] see `Provenance`.
        counts: of what was left out: `own`, `low`, `repeated`, `passed`.
        searched: queries [q] and what every source found for them; of a query that is there twice the last counts.
    """

    rows: Rows
    scores: Floats
    passed: Rows
    floor: Floats
    ranks: Rows
    found: Floats
    counts: Counter[str] = field(default_factory=Counter)
    searched: list[tuple[Ints, list[Lists]]] = field(default_factory=list)

    def note(self, number: int, queries: Ints, found: Lists) -> None:
        """Note where a source found the candidates of some queries.

        Arguments:
            number: of the source.
            queries: [q] query rows.
            found: [q, w] what the source found for them.
        """
        places = places_of(found.rows, self.rows[queries])
        self.ranks[number, queries] = places + 1
        scores = np.take_along_axis(found.scores, np.maximum(places, 0), axis=1)
        self.found[number, queries] = np.where(places < 0, np.float32(np.nan), scores)


def choose(sources: Sequence[Source], retriever: EncoderSource, rules: Rules, reporter: Reporter) -> Chosen:
    """Merge the sources and apply the rules; where a list is not full, sources are searched twice as deep, until it is.

    Arguments:
        sources: in order; `retriever` is the first.
        retriever: gives the scores.
        rules: what is left out.
        reporter: told when lists are filled from deeper.

    Returns:
        the candidates; a list stays shorter only where no other passage passes the rules.
    """
    queries, passages = len(retriever.queries), retriever.passages.rows
    chosen = _nothing(queries, len(sources), rules)
    todo, depth = np.arange(queries), min(rules.depth, passages)
    while len(todo):
        lists = [source.find(todo, depth) for source in sources]
        left = []
        for some in blocks(len(todo), len(sources) * depth):
            part = [Lists(f.rows[some], f.scores[some]) for f in lists]
            left.append(todo[some][~_fill(chosen, todo[some], part, retriever, rules, depth == passages)])
        chosen.searched.append((todo, lists))
        todo, depth = np.concatenate(left), min(2 * depth, passages)
        if len(todo):
            reporter.say(f"{len(todo):,} lists are not full: searching {depth:,} passages deep")
    return chosen


def _nothing(queries: int, sources: int, rules: Rules) -> Chosen:
    return Chosen(
        np.full((queries, rules.k), PADDING, dtype=np.uint32), np.full((queries, rules.k), -np.inf, dtype=np.float32),
        np.full((queries, rules.first_rank - 1), PADDING, dtype=np.uint32), np.full(queries, -np.inf, dtype=np.float32),
        np.zeros((sources, queries, rules.k), dtype=np.uint32), np.full((sources, queries, rules.k), np.nan, dtype=np.float32),
    )  # fmt: skip


def _fill(chosen: Chosen, queries: Ints, lists: list[Lists], retriever: EncoderSource, rules: Rules, last: bool) -> Bools:
    """Settle the lists of some queries; [q] which of them are. Those that are not wait for deeper lists, unless these are the last."""
    rows = interleave([found.rows for found in lists])
    left, floor, dropped = _apply(rows, queries, lists[0], retriever, rules)
    passing, kept = _ranked(left, rules)
    full = kept.sum(axis=1) == rules.k
    # No passage behind the end of the retriever's list has a higher score than its last.
    settled: Bools = full | last | (lists[0].scores[:, -1] < floor)
    end = np.where(full, rows.shape[1] - np.argmax(kept[:, ::-1], axis=1), rows.shape[1])  # behind it nothing is counted
    counted = settled[:, None] & (np.arange(rows.shape[1]) < end[:, None])
    chosen.counts.update({name: int((mask & counted).sum()) for name, mask in (dropped | {"passed": passing}).items()})
    which = queries[settled]
    chosen.rows[which] = kept_first(rows, kept, rules.k)[settled]
    chosen.passed[which] = kept_first(rows, passing, rules.first_rank - 1)[settled]
    chosen.floor[which] = floor[settled]
    known = Lists(lists[0].rows[settled], lists[0].scores[settled])
    chosen.scores[which] = retriever.scores(which, chosen.rows[which], known)
    for number, found in enumerate(lists):
        chosen.note(number, which, Lists(found.rows[settled], found.scores[settled]))
    return settled


def _apply(rows: Rows, queries: Ints, known: Lists, retriever: EncoderSource, rules: Rules) -> tuple[Bools, Floats, dict[str, Bools]]:
    """What is left [q, w], the least score [q], and what was dropped by each rule."""
    there = rows != PADDING
    own = there & (rows == rules.own[queries][:, None])
    left, dropped = there & ~own, {"own": own}
    floor = np.full(len(rows), -np.inf, dtype=np.float32)
    if rules.floors:
        scores = retriever.scores(queries, np.where(left, rows, np.uint32(PADDING)), known)
        floor = np.maximum(np.float32(rules.min_score), scores.max(axis=1) - np.float32(rules.margin))
        dropped["low"] = left & (scores < floor[:, None])
        left &= ~dropped["low"]
    new = rules.duplicates.first(rows, left, rules.k + rules.first_rank - 1)
    dropped["repeated"] = left & ~new
    return new, floor, dropped


def _ranked(left: Bools, rules: Rules) -> tuple[Bools, Bools]:
    """What is passed over for its rank, and what is kept."""
    rank = np.cumsum(left, axis=1)
    return left & (rank < rules.first_rank), left & (rank >= rules.first_rank) & (rank < rules.first_rank + rules.k)


def ordered(chosen: Chosen, names: Sequence[str]) -> tuple[Rows, Floats, Provenance | None]:
    """The candidates by the retriever's score, then by row, and where they were found.

    Arguments:
        chosen: in any order.
        names: of the sources.

    Returns:
        rows [Q, k], scores [Q, k], and provenance where there is more than one source.
    """
    order = np.lexsort((chosen.rows, -chosen.scores), axis=1)
    rows, scores = np.take_along_axis(chosen.rows, order, axis=1), np.take_along_axis(chosen.scores, order, axis=1)
    if len(names) == 1:
        return rows, scores, None
    ranks, found = np.take_along_axis(chosen.ranks, order[None], axis=2), np.take_along_axis(chosen.found, order[None], axis=2)
    return rows, scores, Provenance(tuple(names), ranks, found)
