"""Queries whose first place the labels gave to another passage, the two passages side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records
from umr.data.labels import Labels
from umr.data.queries import Queries


@dataclass(frozen=True)
class FirstPlaces:
    """The first passage of every query under the retriever and under the labels, among the candidates that were scored.

    Arguments:
        scored: [Q, k] whether a candidate has a score and a label.
        retriever: [Q] column of the retriever's best scored candidate.
        label: [Q] column of the greatest label; of equal ones the retriever's better.
        shift: [Q] nats, by which the label of the one exceeds that of the other; 0 where they are the same.
    """

    scored: NDArray[np.bool_]
    retriever: NDArray[np.intp]
    label: NDArray[np.intp]
    shift: NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A candidate in first place.

    Arguments:
        passage_id: of the passage.
        title: may be empty.
        text: whole.
        rank: in the retriever's list, from 1.
        retriever_score: inner product or cosine.
        score: nats, as it is kept with the labels.
        label: probability, 0 to 1.
    """

    passage_id: str
    title: str
    text: str
    rank: int
    retriever_score: float
    score: float
    label: float


@dataclass(frozen=True)
class Example:
    """A query and its two first places.

    Arguments:
        query_id: of the query.
        lang: its language code.
        query: its text.
        shift: nats, by which the label of the new first passage exceeds that of the old one.
        retriever: the retriever's first passage.
        label: the labels' first passage.
    """

    query_id: str
    lang: str
    query: str
    shift: float
    retriever: Place
    label: Place


def first_places(labels: Labels) -> FirstPlaces:
    """The first places of every query; of a query without any score, column 0 twice."""
    scored = np.isfinite(labels.scores) & np.isfinite(labels.labels)
    retriever, label = scored.argmax(axis=1), np.where(scored, labels.labels, -np.inf).argmax(axis=1)
    queries, values = np.arange(len(scored)), np.where(scored, labels.labels, 0).astype(np.float64)
    return FirstPlaces(scored, retriever, label, values[queries, label] - values[queries, retriever])


def largest_shifts(labels: Labels, firsts: FirstPlaces, count: int) -> dict[str, list[int]]:
    """The queries of each language whose label moved furthest from the retriever's first passage to another.

    Arguments:
        labels: of a round.
        firsts: its first places.
        count: at most so many a language.

    Returns:
        language -> positions of queries, largest shift first, equal ones in the order of the queries.
    """
    chosen: dict[str, list[int]] = {lang: [] for lang in sorted(set(labels.candidates.langs))}
    for query in np.argsort(-firsts.shift, kind="stable"):
        found = chosen[labels.candidates.langs[query]]
        if firsts.retriever[query] != firsts.label[query] and len(found) < count:
            found.append(int(query))
    return chosen


def examples(labels: Labels, firsts: FirstPlaces, queries: Queries, passages: Records, count: int) -> dict[str, list[Example]]:
    """The examples of each language (`largest_shifts`), with their texts.

    Arguments:
        labels: of a round.
        firsts: its first places.
        queries: of the work folder.
        passages: its corpus.
        count: at most so many a language.
    """
    chosen = largest_shifts(labels, firsts, count)
    return {lang: [_example(labels, firsts, q, queries, passages) for q in rows] for lang, rows in chosen.items()}


def _example(labels: Labels, firsts: FirstPlaces, query: int, queries: Queries, passages: Records) -> Example:
    c = labels.candidates
    row = queries.records.find([c.query_ids[query]]).astype(np.uint32)
    ((_, text),) = queries.records.texts(row)
    old, new = (_place(labels, query, int(column[query]), passages) for column in (firsts.retriever, firsts.label))
    return Example(c.query_ids[query], c.langs[query], text, float(firsts.shift[query]), old, new)


def _place(labels: Labels, query: int, column: int, passages: Records) -> Place:
    c = labels.candidates
    row = np.array([c.rows[query, column]], dtype=np.uint32)
    ((title, text),) = passages.texts(row)
    values = (c.scores, labels.scores, np.exp(labels.labels))
    retriever, score, label = (float(value[query, column]) for value in values)
    return Place(passages.ids(row)[0], title, text, column + 1, retriever, score, label)
