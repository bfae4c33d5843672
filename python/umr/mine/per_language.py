"""At least m candidates from every passage language, so that labels can teach across languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING
from umr.data.corpus_langs import Languages
from umr.errors import InputError
from umr.mine.lists import Bools, Floats, Ints, Lists, Rows, blocks, compact, no_lists, places_of
from umr.mine.select import Chosen, Rules
from umr.mine.sources import EncoderSource
from umr.progress import Reporter

NAME = "language"  # of the source that these candidates have been found by
SHARE = 1000  # an identified language counts with one passage in so many: identifiers find rare languages where there are none


def spoken(languages: Languages) -> list[int]:
    """The languages that count, as places in `codes`: those that a record or a file says, and those of one passage in a thousand."""
    counts = np.bincount(languages.numbers, minlength=len(languages.codes)).tolist()
    told = [code in languages.stated for code in languages.codes]
    return [place for place, count in enumerate(counts) if told[place] or count * SHARE >= len(languages.numbers)]


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
        reporter.say(
            f"no candidates are asked from {len(rare)} identified languages of fewer than 0.1 % of the passages each ({passages:,} in all)"
        )


@dataclass
class _Extra:
    """What is added to every list: [Q, room], filled from the left."""

    rows: Rows
    scores: Floats
    ranks: Rows
    count: Ints  # [Q]


def add_languages(chosen: Chosen, languages: Languages, least: int, retriever: EncoderSource, rules: Rules, reporter: Reporter) -> int:
    """Bring every list to `least` candidates of every language, as far as the corpus and the other rules allow.

    The best passages of a language that has too few are found by a search among its passages alone. They take the places of the
    last candidates of languages that have more than `least`, or that do not count.

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
    which, sizes = spoken(languages), np.bincount(languages.numbers, minlength=len(languages.codes))
    room = np.minimum(least, sizes[which]).astype(np.int32)  # [L]
    nothing = no_lists(len(chosen.rows), int(room.sum()))
    extra = _Extra(nothing.rows, nothing.scores, np.zeros_like(nothing.rows), np.zeros(len(chosen.rows), dtype=np.int64))
    lacking = np.maximum(0, room - _held(chosen, languages, which))  # [Q, L]
    for at, lang in enumerate(which):
        if lacking[:, at].any():
            _look(chosen, extra, lacking[:, at], languages.numbers == lang, least, retriever, rules)
    _put(chosen, extra, languages, which, least)
    total = int((chosen.ranks[-1] > 0).sum())
    reporter.say(f"{total:,} candidates added for passage languages that had fewer than {least} in a list")
    return total


def _numbers(languages: Languages, rows: Rows) -> NDArray[np.int32]:
    """The languages of passages, -1 of padding."""
    there = rows != PADDING
    numbers = np.full(rows.shape, -1, dtype=np.int32)
    numbers[there] = languages.numbers[rows[there]]
    return numbers


def _held(chosen: Chosen, languages: Languages, which: list[int]) -> NDArray[np.int32]:
    """[Q, L] candidates of each language that counts."""
    held = np.zeros((len(chosen.rows), len(which)), dtype=np.int32)
    for some in blocks(*chosen.rows.shape):
        numbers = _numbers(languages, chosen.rows[some])
        for at, lang in enumerate(which):
            held[some, at] = (numbers == lang).sum(axis=1)
    return held


def _look(chosen: Chosen, extra: _Extra, wanted: NDArray[Any], only: Bools, least: int, retriever: EncoderSource, rules: Rules) -> None:
    """Add the best `wanted` [Q] passages among `only` [n]; twice as deep where the first ones may not be taken."""
    size = int(only.sum())
    depth = min(size, least + rules.first_rank)  # what is there already, passed over or excluded may come first
    todo = np.flatnonzero(wanted > 0)
    while len(todo):
        found, left = retriever.find_among(todo, depth, only), []
        for some in blocks(len(todo), chosen.rows.shape[1] + extra.rows.shape[1] + depth):
            part = Lists(found.rows[some], found.scores[some])
            left.append(todo[some][~_take(chosen, extra, todo[some], part, wanted[todo[some]], rules, depth == size)])
        todo, depth = np.concatenate(left), min(2 * depth, size)


def _take(chosen: Chosen, extra: _Extra, queries: Ints, found: Lists, wanted: NDArray[Any], rules: Rules, last: bool) -> Bools:
    """Add what may be taken; [q] whose search is over."""
    take = _usable(chosen, extra, queries, found, rules)
    take &= np.cumsum(take, axis=1) <= wanted[:, None]
    settled: Bools = (take.sum(axis=1) == wanted) | last | (found.scores[:, -1] < chosen.floor[queries])
    for place in np.flatnonzero(settled).tolist():
        _append(extra, int(queries[place]), found, place, np.flatnonzero(take[place]))
    return settled


def _usable(chosen: Chosen, extra: _Extra, queries: Ints, found: Lists, rules: Rules) -> Bools:
    there = np.concatenate([chosen.passed[queries], chosen.rows[queries], extra.rows[queries]], axis=1)
    free: Bools = (found.rows != PADDING) & (found.rows != rules.own[queries][:, None])
    free &= (found.scores >= chosen.floor[queries][:, None]) & (places_of(there, found.rows) < 0)
    both = np.concatenate([there, found.rows], axis=1)
    new = rules.duplicates.first(both, np.concatenate([there != PADDING, free], axis=1), both.shape[1])
    return new[:, there.shape[1] :]


def _append(extra: _Extra, query: int, found: Lists, place: int, columns: Ints) -> None:
    at = slice(int(extra.count[query]), int(extra.count[query]) + len(columns))
    extra.rows[query, at], extra.scores[query, at] = found.rows[place, columns], found.scores[place, columns]
    extra.ranks[query, at] = columns + 1
    extra.count[query] += len(columns)


def _put(chosen: Chosen, extra: _Extra, languages: Languages, which: list[int], least: int) -> None:
    """Put what was added behind the lists, and note anew which source found what."""
    k = chosen.rows.shape[1]
    ranks, found = np.zeros(chosen.rows.shape, dtype=np.uint32), np.full(chosen.rows.shape, np.nan, dtype=np.float32)
    for some in blocks(len(chosen.rows), k + extra.rows.shape[1]):
        rows, more = chosen.rows[some], extra.rows[some]
        added = more != PADDING
        keep = np.concatenate([_kept(rows, extra.count[some], _numbers(languages, rows), which, least), added], axis=1)
        scores = np.where(added, extra.scores[some], np.float32(np.nan))
        no_rank, no_score = np.zeros_like(rows), np.full(rows.shape, np.nan, dtype=np.float32)
        ranks[some] = compact(np.concatenate([no_rank, extra.ranks[some]], axis=1), keep, k, 0)
        found[some] = compact(np.concatenate([no_score, scores], axis=1), keep, k, np.nan)
        chosen.scores[some] = compact(np.concatenate([chosen.scores[some], scores], axis=1), keep, k, -np.inf)
        chosen.rows[some] = compact(np.concatenate([rows, more], axis=1), keep, k, np.uint32(PADDING))
    chosen.ranks, chosen.found = np.concatenate([chosen.ranks, ranks[None]]), np.concatenate([chosen.found, found[None]])
    for queries, lists in chosen.searched:
        for some in blocks(len(queries), k + lists[0].rows.shape[1]):
            for number, of in enumerate(lists):
                chosen.note(number, queries[some], Lists(of.rows[some], of.scores[some]))


def _kept(rows: Rows, added: Ints, numbers: NDArray[np.int32], which: list[int], least: int) -> Bools:
    """[q, k] the candidates that stay where `added` [q] come: the last of those that are to spare go."""
    place = np.zeros(rows.shape, dtype=np.int32)  # of a candidate among those of its language
    for lang in which:
        mine = numbers == lang
        place[mine] = np.cumsum(mine, axis=1)[mine]
    there = rows != PADDING
    spare = there & ((place > least) | ~np.isin(numbers, which))
    over = np.maximum(0, there.sum(axis=1) + added - rows.shape[1])
    from_end = np.cumsum(spare[:, ::-1], axis=1)[:, ::-1]
    kept: Bools = there & ~(spare & (from_end <= over[:, None]))
    return kept
