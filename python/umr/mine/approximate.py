"""Approximate top-k: a graph finds candidates, their exact scores decide, and a sample tells what is missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from umr.data.candidates import PADDING
from umr.data.embeddings import Embeddings
from umr.mine.copies import with_copies
from umr.mine.graph import Graph, Recall, build_graph, open_graph, questions_of
from umr.mine.lists import Floats, Rows
from umr.mine.reader import spread
from umr.mine.scoring import Best, pair_scores, require_scores, require_searchable
from umr.mine.space import Kind
from umr.progress import Reporter, Silent

Found = tuple[Rows, Floats]
Truth = Callable[[Floats, int], Found]
"""The exact answer for some queries [m, d] and k."""

ENOUGH = 0.95  # recall at which the search is widened no more
SAMPLE = 128  # questions that recall is measured on
FEW = 32  # with fewer queries than that, passages are asked for instead
NARROWEST = 64  # passages that a search looks at
WIDEST = 8192  # the same, where recall stays low
PAIRS = 1 << 17  # looked up at a time
STEP = 4096  # pairs scored at a time, within the processor's cache


def near_top_k(
    queries: Floats,
    passages: Embeddings,
    k: int,
    truth: Truth,
    threads: int = 0,
    reporter: Reporter | None = None,
    kind: Kind | Literal["auto"] = "auto",
) -> Found:
    """The k passages of nearly the largest inner products with each query.

    The index is built when there is none, and kept beside the vectors. Scores are those of exact search; a query for which
    the graph gives fewer than k passages is searched exactly.

    Arguments:
        queries: [Q, d] float32.
        passages: finished embeddings, n rows.
        k: at most n.
        truth: the exact search.
        threads: 0 takes all.
        reporter: shows the progress, and the recall when it is measured.
        kind: of the values in a new index; auto takes i8 where the order bears it, else bf16.

    Returns:
        rows [Q, k] uint32 and scores [Q, k] float32: score down, then row up.

    Raises:
        InputError: k is larger than the corpus.
        MismatchError: the index on disk is that of other embeddings, or damaged.
        ScoreError: a vector is not finite.
    """
    reporter = reporter or Silent()
    require_searchable(queries, passages, k)
    graph = open_graph(passages)
    if graph is None:
        graph = build_graph(passages, _sample(queries, passages)[0], k, kind, threads, reporter)
    expansion = _expansion(graph, queries, passages, k, truth, threads, reporter)
    parts, step = [], max(1, PAIRS // expansion)
    with reporter.bar("searching the index", len(queries), "queries") as bar:
        for at in range(0, len(queries), step):
            parts.append(_searched(graph, queries[at : at + step], passages, k, expansion, threads, at))
            bar.advance(len(parts[-1][0]))
    rows, scores = (np.concatenate(p) for p in zip(*parts, strict=True)) if parts else _nothing(k)
    short = np.flatnonzero(rows[:, -1] == PADDING)
    if len(short):
        reporter.say(f"searching exactly for {len(short)} queries, whose neighbours in the index are fewer than {k}")
        rows[short], scores[short] = truth(np.ascontiguousarray(queries[short]), k)
    return rows, scores


def _nothing(k: int) -> Found:
    return np.empty((0, k), dtype=np.uint32), np.empty((0, k), dtype=np.float32)


def _sample(queries: Floats, passages: Embeddings) -> tuple[Floats, Literal["queries", "passages"]]:
    """Questions to measure with, and whose vectors they are."""
    if len(queries) >= FEW:
        return np.ascontiguousarray(queries[spread(np.arange(len(queries), dtype=np.uint32), SAMPLE)]), "queries"
    return questions_of(passages, SAMPLE), "passages"


def _expansion(graph: Graph, queries: Floats, passages: Embeddings, k: int, truth: Truth, threads: int, reporter: Reporter) -> int:
    """How far to search for k passages: as measured before, else as measured now, kept and said."""
    known = [m for m in graph.measured if m.k >= k and (m.of == "queries" or len(queries) < FEW)]
    if not known:
        sample, of = _sample(queries, passages)
        known = [_measured(graph, sample, of, passages, k, truth, threads)]
        graph.remember(known[0])
    best = known[0]
    reporter.say(
        f"approximate index ({graph.space.kind}): recall@{best.k} {best.recall:.3f} against the exact answer "
        f"on {best.questions} {best.of}, looking at {best.expansion} passages"
    )
    if best.recall < ENOUGH:
        reporter.warn(f"the approximate index misses {1 - best.recall:.0%} of the best passages; --index exact misses none")
    return best.expansion


def _measured(
    graph: Graph, sample: Floats, of: Literal["queries", "passages"], passages: Embeddings, k: int, truth: Truth, threads: int
) -> Recall:
    """The recall of a search that is widened until it is enough."""
    floor = truth(sample, k)[1][:, -1:]
    expansion, last = max(k, NARROWEST), min(passages.rows, max(WIDEST, k))
    while True:
        scores = _searched(graph, sample, passages, k, expansion, threads)[1]
        recall = float(np.mean(scores >= floor))
        if recall >= ENOUGH or expansion >= last:
            return Recall(k, expansion, recall, len(sample), of)
        expansion *= 2


def _searched(graph: Graph, queries: Floats, passages: Embeddings, k: int, expansion: int, threads: int, first: int = 0) -> Found:
    """The best k of what the graph gives, by exact score; short lists end with `PADDING`."""
    graph.index.expansion_search = expansion
    count = min(expansion, max(2 * k, NARROWEST), len(graph.index))  # `_kept` of the space looks among twice as many too
    found = graph.index.search(graph.space.of_queries(queries), count, threads=threads)
    # For one query usearch gives one list as long as it is, for more it gives lists padded to `count`.
    keys, counts = (found.keys[None], np.array([len(found)])) if len(queries) == 1 else (found.keys, found.counts)
    kept = np.arange(keys.shape[1]) < counts[:, None]
    places, rows = np.repeat(np.arange(len(queries)), counts), keys[kept].astype(np.uint32)
    unique, at = np.unique(rows, return_inverse=True)
    left, right = torch.from_numpy(queries), torch.from_numpy(passages.read(unique))
    mine, theirs = torch.from_numpy(places), torch.from_numpy(at)
    steps = zip(torch.split(mine, STEP), torch.split(theirs, STEP), strict=True)
    scores = torch.cat([pair_scores(left[some], right[others]) for some, others in steps])
    require_scores(scores, mine, torch.from_numpy(rows.astype(np.int64)), first)
    of, every = with_copies(graph.copies, rows, k)
    best = Best(len(queries), k, torch.device("cpu"))
    best.add(mine[of], torch.from_numpy(every.astype(np.int64)), scores[of])
    return best.lists()
