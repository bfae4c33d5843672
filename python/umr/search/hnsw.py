"""Approximate top-k: a graph finds passages, their exact scores decide, and a sample of queries tells what is missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from umr.data.candidates import PADDING
from umr.data.embeddings import Embeddings
from umr.progress import Reporter, Silent
from umr.search.equal_vectors import with_equal
from umr.search.graph import Graph, Recall, build_graph, open_graph
from umr.search.lists import Bools, Floats, Lists, no_lists
from umr.search.reader import evenly_spaced
from umr.search.scoring import Best, pair_scores, require_scores

Exact = Callable[[Floats, int], Lists]
"""The exact search: for some queries [m, d] and k."""

ENOUGH_RECALL = 0.95  # at which the search is widened no more
SAMPLE_QUERIES = 128  # that recall is measured on
FEWEST_QUERIES = 32  # that recall is measured on; where there are fewer, passages are asked for instead
LEAST_EXPANSION = 64  # passages that a search looks at
MOST_EXPANSION = 8192  # passages that it looks at where recall stays low
BATCH_PASSAGES = 1 << 17  # looked at in one call of the graph
SCORED_PAIRS = 4096  # at a time, within the processor's cache


def hnsw_top_k(
    queries: Floats,
    passages: Embeddings,
    k: int,
    exact: Exact,
    threads: int = 0,
    reporter: Reporter | None = None,
    only: Bools | None = None,
) -> Lists:
    """The k passages of nearly the largest inner products with each query.

    The graph is built when there is none, and kept beside the vectors. Scores are those of exact search; a query for which
    the graph gives fewer than k passages is searched exactly.

    Arguments:
        queries: [Q, d] float32.
        passages: finished embeddings, n rows.
        k: at most n.
        exact: the exact search, among the passages that count.
        threads: 0 takes all.
        reporter: shows the progress, and the recall when it is measured.
        only: [n] which passages count. (default: all)

    Returns:
        lists [Q, k]: score down, then row up.

    Raises:
        MismatchError: the graph on disk is that of other embeddings, or damaged.
        ScoreError: a passage is not finite, or a score is beyond float32.
    """
    reporter = reporter or Silent()
    graph = open_graph(passages)
    if graph is None:
        graph = build_graph(passages, _sample(queries, passages)[0], k, threads, reporter)
    expansion = _expansion(graph, queries, k, exact, threads, reporter, only)
    found, step = no_lists(len(queries), k), max(1, BATCH_PASSAGES // expansion)
    with reporter.bar("searching the index", len(queries), "queries") as bar:
        for at in range(0, len(queries), step):
            part = _search(graph, queries[at : at + step], k, expansion, threads, at, only)
            found.rows[at : at + step], found.scores[at : at + step] = part
            bar.advance(len(part.rows))
    short = np.flatnonzero(found.rows[:, -1] == PADDING)
    if len(short):
        reporter.say(f"searching exactly for {len(short)} queries, whose neighbours in the index are fewer than {k}")
        found.rows[short], found.scores[short] = exact(np.ascontiguousarray(queries[short]), k)
    return found


def _sample(queries: Floats, passages: Embeddings) -> tuple[Floats, Literal["queries", "passages"]]:
    """Vectors to measure with, and whose they are."""
    if len(queries) >= FEWEST_QUERIES:
        return np.ascontiguousarray(queries[evenly_spaced(np.arange(len(queries), dtype=np.uint32), SAMPLE_QUERIES)]), "queries"
    return passages.read(evenly_spaced(np.arange(passages.rows, dtype=np.uint32), SAMPLE_QUERIES)), "passages"


def _expansion(graph: Graph, queries: Floats, k: int, exact: Exact, threads: int, reporter: Reporter, only: Bools | None) -> int:
    """How many passages to look at for the best k: as measured before, else as measured now, kept and said."""
    known = [m for m in graph.measured if m.k >= k and (m.of == "queries" or len(queries) < FEWEST_QUERIES)]
    if not known:
        known = [_measured(graph, queries, k, exact, threads, only)]
        graph.remember(known[0])
    best = known[0]
    reporter.say(
        f"approximate index ({graph.space.kind}): recall@{best.k} {best.recall:.3f} against the exact answer "
        f"on {best.queries} {best.of}, looking at {best.expansion} passages"
    )
    if best.recall < ENOUGH_RECALL:
        reporter.warn(f"the approximate index misses {1 - best.recall:.0%} of the best passages; --index exact misses none")
    return best.expansion


def _measured(graph: Graph, queries: Floats, k: int, exact: Exact, threads: int, only: Bools | None) -> Recall:
    """The recall of a search that is widened until it is enough."""
    sample, of = _sample(queries, graph.passages)
    least = exact(sample, k).scores[:, -1:]
    expansion, most = max(k, LEAST_EXPANSION), min(graph.passages.rows, max(MOST_EXPANSION, k))
    while True:
        recall = float(np.mean(_search(graph, sample, k, expansion, threads, only=only).scores >= least))
        if recall >= ENOUGH_RECALL or expansion >= most:
            return Recall(k, expansion, recall, len(sample), of)
        expansion *= 2


def _search(graph: Graph, queries: Floats, k: int, expansion: int, threads: int, first: int = 0, only: Bools | None = None) -> Lists:
    """The best k of what the graph gives, by exact score; `first` is the number of the first query, for messages."""
    graph.index.expansion_search = expansion
    count = min(expansion, max(2 * k, LEAST_EXPANSION), len(graph.index))  # space.py measures codes on twice as many, too
    found = graph.index.search(graph.space.of_queries(queries), count, threads=threads)
    # For one query usearch gives one list as long as it is, for more it gives lists padded to `count`.
    keys, counts = (found.keys[None], np.array([len(found)])) if len(queries) == 1 else (found.keys, found.counts)
    rows = keys[np.arange(keys.shape[1]) < counts[:, None]].astype(np.uint32)
    unique, at = np.unique(rows, return_inverse=True)
    left, right = torch.from_numpy(queries), torch.from_numpy(graph.passages.read(unique))
    places, columns = torch.from_numpy(np.repeat(np.arange(len(queries)), counts)), torch.from_numpy(at)
    steps = zip(torch.split(places, SCORED_PAIRS), torch.split(columns, SCORED_PAIRS), strict=True)
    scores = torch.cat([pair_scores(left[some], right[others]) for some, others in steps])
    require_scores(scores, places, torch.from_numpy(rows.astype(np.int64)), first)
    of, every = with_equal(graph.equal, rows, k)
    best = Best(len(queries), k, torch.device("cpu"))
    counted = torch.from_numpy(np.ones(len(every), dtype=np.bool_) if only is None else only[every])
    best.add(places[of][counted], torch.from_numpy(every.astype(np.int64))[counted], scores[of][counted])
    return best.lists()
