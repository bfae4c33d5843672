"""At least m candidates from every passage language, so that labels can teach across languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING
from umr.data.corpus_langs import Languages
from umr.errors import InputError
from umr.mine.lists import Bools, Floats, Ints, Lists, Rows, compact, places_of
from umr.mine.select import Chosen, Rules
from umr.mine.sources import EncoderSource
from umr.progress import Reporter

NAME = "language"  # of the source that these candidates have been found by
SHARE = 1000  # a language counts with one passage in so many: identifiers find rare languages where there are none


def spoken(languages: Languages) -> list[int]:
    """The languages that count, as places in `codes`: those of at least one passage in a thousand."""
    counts = np.bincount(languages.numbers, minlength=len(languages.codes))
    return [place for place, count in enumerate(counts.tolist()) if count * SHARE >= len(languages.numbers)]


def require_room(languages: Languages, k: int, least: int, reporter: Reporter) -> None:
    """Refuse k candidates that cannot hold so many of every language that counts.

    Arguments:
        languages: of all passages.
        k: candidates a query.
        least: of each language.
        reporter: told which languages do not count.

    Raises:
        InputError: names the smallest k that can.
    """
    counts, count = languages.counts(), spoken(languages)
    need = sum(min(least, counts[languages.codes[place]]) for place in count)
    if need > k:
        raise InputError(
            f"{least} candidates from each of {len(count)} passage languages are {need}, but top-k is {k}",
            f"use --top-k {need} or more, or a smaller --per-language",
        )
    rare = [code for place, code in enumerate(languages.codes) if place not in count]
    if rare:
        passages = sum(counts[code] for code in rare)
        reporter.say(f"no candidates are asked from {len(rare)} languages of fewer than 0.1 % of the passages each ({passages:,} in all)")


@dataclass
class _Extra:
    """What is added to every list: [Q, k], filled from the left."""

    rows: Rows
    scores: Floats
    ranks: Rows
    count: Ints  # [Q]


def add_languages(chosen: Chosen, languages: Languages, least: int, retriever: EncoderSource, rules: Rules, reporter: Reporter) -> int:
    """Bring every list to `least` candidates of every language, as far as the corpus and the other rules allow.

    The best passages of a language that has too few are found by a search among its passages alone. They take the places of the
    last candidates of languages that have more than `least`.

    Arguments:
        chosen: changed in place; gets a further source, whose ranks are those among the passages of the language.
        languages: of all passages.
        least: m.
        retriever: searches.
        rules: hold for these candidates as well.
        reporter: told what was added.

    Returns:
        candidates added.
    """
    shape = chosen.rows.shape
    extra = _Extra(
        np.full(shape, PADDING, dtype=np.uint32), np.full(shape, -np.inf, dtype=np.float32), np.zeros(shape, dtype=np.uint32),
        np.zeros(len(chosen.rows), dtype=np.int64),
    )  # fmt: skip
    numbers = np.append(languages.numbers, np.int32(-1))[np.minimum(chosen.rows, len(languages.numbers))]  # [Q, k]
    place_in_language = np.zeros(shape, dtype=np.int64)
    for lang in spoken(languages):
        mine, only = numbers == lang, languages.numbers == lang
        place_in_language[mine] = np.cumsum(mine, axis=1)[mine]
        wanted = min(least, int(only.sum())) - mine.sum(axis=1)
        if (wanted > 0).any():
            _look(chosen, extra, np.maximum(wanted, 0), only, least, retriever, rules)
    _put(chosen, extra, place_in_language > least)
    total = int(extra.count.sum())
    reporter.say(f"{total:,} candidates added for passage languages that had fewer than {least} in a list")
    return total


def _look(chosen: Chosen, extra: _Extra, wanted: Ints, only: Bools, least: int, retriever: EncoderSource, rules: Rules) -> None:
    """Add the best `wanted` [Q] passages among `only` [n]; twice as deep where the first ones may not be taken."""
    size = int(only.sum())
    depth = min(size, least + rules.first_rank)  # what is there already, passed over or excluded may come first
    todo = np.flatnonzero(wanted > 0)
    while len(todo):
        found = retriever.find_among(todo, depth, only)
        take = _usable(chosen, extra, todo, found, rules)
        take &= np.cumsum(take, axis=1) <= wanted[todo, None]
        settled = (take.sum(axis=1) == wanted[todo]) | (depth == size) | (found.scores[:, -1] < chosen.floor[todo])
        for place in np.flatnonzero(settled).tolist():
            _append(extra, int(todo[place]), found, place, np.flatnonzero(take[place]))
        todo, depth = todo[~settled], min(2 * depth, size)


def _usable(chosen: Chosen, extra: _Extra, queries: Ints, found: Lists, rules: Rules) -> Bools:
    there = np.concatenate([chosen.rows[queries], extra.rows[queries]], axis=1)
    free = (found.rows != PADDING) & (found.rows != rules.own[queries][:, None]) & (found.scores >= chosen.floor[queries][:, None])
    for taken in (there, chosen.passed[queries]):
        free &= places_of(taken, found.rows) < 0
    both = np.concatenate([there, found.rows], axis=1)
    new = rules.duplicates.first(both, np.concatenate([there != PADDING, free], axis=1), both.shape[1])
    return new[:, there.shape[1] :]


def _append(extra: _Extra, query: int, found: Lists, place: int, columns: Ints) -> None:
    at = slice(int(extra.count[query]), int(extra.count[query]) + len(columns))
    extra.rows[query, at], extra.scores[query, at] = found.rows[place, columns], found.scores[place, columns]
    extra.ranks[query, at] = columns + 1
    extra.count[query] += len(columns)


def _put(chosen: Chosen, extra: _Extra, spare: Bools) -> None:
    """Put what was added behind the lists, in the places of the last `spare` [Q, k] candidates where there is no room."""
    there, k = chosen.rows != PADDING, chosen.rows.shape[1]
    over = np.maximum(0, there.sum(axis=1) + extra.count - k)
    from_end = np.cumsum(spare[:, ::-1], axis=1)[:, ::-1]
    keep = np.concatenate([there & ~(spare & (from_end <= over[:, None])), extra.rows != PADDING], axis=1)

    def joined(values: NDArray[Any], added: NDArray[Any], empty: Any) -> NDArray[Any]:
        return compact(np.concatenate([values, added], axis=1), keep, k, empty)

    nothing, no_score = np.zeros_like(extra.ranks), np.full_like(extra.scores, np.nan)
    found = np.where(extra.rows == PADDING, np.float32(np.nan), extra.scores)
    chosen.ranks = np.stack([*(joined(r, nothing, 0) for r in chosen.ranks), joined(nothing, extra.ranks, 0)])
    chosen.found = np.stack([*(joined(f, no_score, np.nan) for f in chosen.found), joined(no_score, found, np.nan)])
    chosen.scores = joined(chosen.scores, extra.scores, -np.inf)
    chosen.rows = joined(chosen.rows, extra.rows, np.uint32(PADDING))
