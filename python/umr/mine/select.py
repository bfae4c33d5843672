"""Which passages become candidates: sources are merged, what the rules refuse is left out, and lists are filled from deeper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from umr.config import MineConfig
from umr.data.candidates import PADDING, Candidates, Provenance
from umr.data.queries import Queries
from umr.data.workspace import Workspace
from umr.mine.duplicates import Duplicates
from umr.mine.lists import blocks, compact, interleave, places_of
from umr.mine.sources import EncoderSource, Source
from umr.progress import Reporter
from umr.search.lists import Bools, Floats, Ints, Lists, Rows, no_lists


@dataclass(frozen=True)
class Rules:
    """What is left out, in this order: source passages, empty ones, low scores, duplicates, first ranks.

    Arguments:
        k: candidates a query.
        source_passages: [Q] row of the passage that a query was made from, -1 where none is left out.
        duplicates: tells passages that repeat another.
        min_score: least score of the retriever; -inf for none.
        margin: most that a score may lie below the best one of the query; inf for none.
        first_rank: rank, from 1, of the first candidate among what is left.
    """

    k: int
    source_passages: Ints
    duplicates: Duplicates
    min_score: float = -np.inf
    margin: float = np.inf
    first_rank: int = 1

    @property
    def depth(self) -> int:
        """Passages of a source that are looked at first; more where these do not fill the lists."""
        need = self.k + self.first_rank - 1 + int((self.source_passages >= 0).any())
        return need if self.duplicates.kind == "off" else need + need // 4


@dataclass
class Selection:
    """The candidates of all queries, in the order of the merged lists.

    Arguments:
        rows, scores: [Q, k] the candidates and the retriever's scores, padded at the end.
        skipped: [Q, first_rank - 1] what stands before the first rank.
        least_scores: [Q] that a candidate of the query must have.
        ranks, source_scores: [S, Q, k] see `Provenance`.
        counts: of what was left out: `source`, `low`, `repeated`, `skipped`.
        searched: queries [q] and what every source found for them; of a query that is there twice the last counts.
    """

    rows: Rows
    scores: Floats
    skipped: Rows
    least_scores: Floats
    ranks: Rows
    source_scores: Floats
    counts: Counter[str] = field(default_factory=Counter)
    searched: list[tuple[Ints, list[Lists]]] = field(default_factory=list)

    def note(self, source: int, queries: Ints, found: Lists) -> None:
        """Note where a source found the candidates of some queries.

        Arguments:
            source: its number.
            queries: [q] query rows.
            found: [q, w] what the source found for them.
        """
        places = places_of(found.rows, self.rows[queries])
        self.ranks[source, queries] = places + 1
        scores = np.take_along_axis(found.scores, np.maximum(places, 0), axis=1)
        self.source_scores[source, queries] = np.where(places < 0, np.float32(np.nan), scores)

    def candidates(self, queries: Queries, names: Sequence[str]) -> Candidates:
        """The candidates by the retriever's score, then by row; where they were found is kept where there are several sources.

        Arguments:
            queries: of the rows.
            names: of the sources.
        """
        order = np.lexsort((self.rows, -self.scores), axis=1)
        rows, scores = np.take_along_axis(self.rows, order, axis=1), np.take_along_axis(self.scores, order, axis=1)
        provenance = None
        if len(names) > 1:
            ranks = np.take_along_axis(self.ranks, order[None], axis=2)
            provenance = Provenance(tuple(names), ranks, np.take_along_axis(self.source_scores, order[None], axis=2))
        return Candidates(queries.ids(), list(queries.langs), rows, scores, provenance)


def rules_for(workspace: Workspace, config: MineConfig, reporter: Reporter) -> tuple[Rules, dict[str, int]]:
    """The rules that a configuration asks for.

    Arguments:
        workspace: passages and queries.
        config: the options.
        reporter: told of queries without a source passage.

    Returns:
        the rules, and where source passages are left out the counts of `source_passages`.
    """
    none: tuple[Ints, dict[str, int]] = (np.full(len(workspace.queries), -1, dtype=np.int64), {})
    rows, counts = source_passages(workspace, reporter) if config.exclude_source else none
    min_score = -np.inf if config.min_score is None else config.min_score
    margin = np.inf if config.margin is None else config.margin
    return Rules(config.top_k, rows, Duplicates(workspace.passages, config.collapse), min_score, margin, config.first_rank), counts


def source_passages(workspace: Workspace, reporter: Reporter) -> tuple[Ints, dict[str, int]]:
    """The passage that each query was made from, as its record names it.

    Arguments:
        workspace: passages and queries.
        reporter: told how many queries name none, or one outside the corpus.

    Returns:
        [Q] passage rows, -1 where there is none, and counts: queries `source_without` the field, and of a `source_unknown`.
    """
    queries = workspace.queries.records
    named = queries.sources(np.arange(len(queries), dtype=np.uint32))
    rows = workspace.passages.find(named)  # an id is never empty, so that no name is no row
    without = sum(not name for name in named)
    counts = {"source_without": without, "source_unknown": int((rows < 0).sum()) - without}
    if any(counts.values()):
        reporter.say(
            f"no source passage is left out for {without:,} queries without the field 'source' "
            f"and {counts['source_unknown']:,} that name a passage outside the corpus"
        )
    return rows, counts


def select(retriever: EncoderSource, others: Sequence[Source], rules: Rules, reporter: Reporter) -> Selection:
    """Merge the sources and apply the rules; where a list is not full, sources are searched twice as deep, until it is.

    Arguments:
        retriever: the first source; gives the scores.
        others: further sources, in order.
        rules: what is left out.
        reporter: told when lists are filled from deeper.

    Returns:
        the candidates; a list stays shorter only where no other passage passes the rules.
    """
    sources, passages = [retriever, *others], retriever.passages.rows
    selection = _nothing(len(retriever.queries), len(sources), rules)
    unfinished, depth = np.arange(len(retriever.queries)), min(rules.depth, passages)
    while len(unfinished):
        lists = [source.find(unfinished, depth) for source in sources]
        waiting = []
        for some in blocks(len(unfinished), len(sources) * depth):
            queries, part = unfinished[some], [found.part(some) for found in lists]
            waiting.append(queries[~_fill(selection, queries, part, retriever, rules, depth == passages)])
        selection.searched.append((unfinished, lists))
        unfinished, depth = np.concatenate(waiting), min(2 * depth, passages)
        if len(unfinished):
            reporter.say(f"{len(unfinished):,} lists are not full: searching {depth:,} passages deep")
    return selection


def _nothing(queries: int, sources: int, rules: Rules) -> Selection:
    none, skipped = no_lists(queries, rules.k), no_lists(queries, rules.first_rank - 1)
    shape = (sources, queries, rules.k)
    ranks, source_scores = np.zeros(shape, dtype=np.uint32), np.full(shape, np.nan, dtype=np.float32)
    return Selection(none.rows, none.scores, skipped.rows, np.full(queries, -np.inf, dtype=np.float32), ranks, source_scores)


def _fill(selection: Selection, queries: Ints, lists: list[Lists], retriever: EncoderSource, rules: Rules, last: bool) -> Bools:
    """Settle the lists of some queries; [q] which of them are. Those that are not wait for deeper lists, unless these are the last."""
    rows = interleave([found.rows for found in lists])
    left, least, dropped = _apply(rows, queries, lists[0], retriever, rules)
    rank = np.cumsum(left, axis=1)
    skipped = left & (rank < rules.first_rank)
    kept = left & ~skipped & (rank < rules.first_rank + rules.k)
    full = kept.sum(axis=1) == rules.k
    # No passage behind the end of the retriever's list has a higher score than its last.
    settled: Bools = full | last | (lists[0].scores[:, -1] < least)
    end = np.where(full, rows.shape[1] - np.argmax(kept[:, ::-1], axis=1), rows.shape[1])  # behind it nothing is counted
    counted = settled[:, None] & (np.arange(rows.shape[1]) < end[:, None])
    selection.counts.update({name: int((mask & counted).sum()) for name, mask in (dropped | {"skipped": skipped}).items()})
    which, found = queries[settled], [part.part(settled) for part in lists]
    selection.rows[which] = compact(rows, kept, rules.k)[settled]
    selection.skipped[which] = compact(rows, skipped, rules.first_rank - 1)[settled]
    selection.least_scores[which] = least[settled]
    selection.scores[which] = retriever.scores(which, selection.rows[which], found[0])
    for source, part in enumerate(found):
        selection.note(source, which, part)
    return settled


def _apply(rows: Rows, queries: Ints, known: Lists, retriever: EncoderSource, rules: Rules) -> tuple[Bools, Floats, dict[str, Bools]]:
    """What is left [q, w], the least score [q], and what was dropped by each rule."""
    there = rows != PADDING
    source = there & (rows == rules.source_passages[queries][:, None])
    left, dropped = there & ~source, {"source": source}
    if retriever.full is not None:
        left &= retriever.full[np.where(there, rows, np.uint32(0))]
    least = np.full(len(rows), -np.inf, dtype=np.float32)
    if np.isfinite(rules.min_score) or np.isfinite(rules.margin):
        scores = retriever.scores(queries, np.where(left, rows, np.uint32(PADDING)), known)
        least = np.maximum(np.float32(rules.min_score), scores.max(axis=1) - np.float32(rules.margin))
        dropped["low"] = left & (scores < least[:, None])
        left &= ~dropped["low"]
    new = rules.duplicates.first(rows, left, rules.k + rules.first_rank - 1)
    dropped["repeated"] = left & ~new
    return new, least, dropped
