"""At least m candidates from every passage language, so that labels can teach across languages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING
from umr.data.corpus_langs import Languages
from umr.errors import InputError
from umr.mine.lists import blocks, compact, places_of
from umr.mine.select import Rules, Selection
from umr.mine.sources import EncoderSource
from umr.progress import Reporter
from umr.search.lists import Bools, Ints, Lists, Rows, no_lists

SOURCE = "language"  # the name under which these candidates have been found
PASSAGES_PER_RARE = 1000  # an identified language counts with one passage in so many: identifiers find rare ones by mistake


def eligible_languages(languages: Languages) -> list[int]:
    """The languages that count, as places in `codes`: those that a record or a file says, and those of one passage in a thousand."""
    counts = np.bincount(languages.numbers, minlength=len(languages.codes)).tolist()
    stated = [code in languages.stated for code in languages.codes]
    return [place for place, count in enumerate(counts) if stated[place] or count * PASSAGES_PER_RARE >= len(languages.numbers)]


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
    counts, eligible = languages.counts(), eligible_languages(languages)
    need = sum(min(least, counts[languages.codes[place]]) for place in eligible)
    if need > k:
        raise InputError(
            f"{least} candidates from each of {len(eligible)} passage languages are {need}, but top-k is {k}",
            f"use --top-k {need} or more, or a smaller --per-language",
        )
    rare = [code for place, code in enumerate(languages.codes) if place not in eligible]
    if rare:
        passages = sum(counts[code] for code in rare)
        reporter.say(
            f"no candidates are asked from {len(rare)} identified languages of fewer than 0.1 % of the passages each ({passages:,} in all)"
        )


def add_languages(
    selection: Selection, languages: Languages, least: int, retriever: EncoderSource, rules: Rules, reporter: Reporter
) -> int:
    """Bring every list to `least` candidates of every language, as far as the corpus and the other rules allow.

    The best passages of a language that has too few are found by a search among its passages alone. They take the places of the
    last candidates of languages that have more than `least`, or that do not count.

    Arguments:
        selection: changed in place; gets a further source, whose ranks are those among the passages of the language.
        languages: of all passages.
        least: m.
        retriever: searches.
        rules: hold for these candidates as well.
        reporter: told what was added.

    Returns:
        candidates added.
    """
    eligible = eligible_languages(languages)
    room = np.minimum(least, np.bincount(languages.numbers, minlength=len(languages.codes))[eligible])  # [L]
    added = no_lists(len(selection.rows), int(room.sum()))  # what is added to every list, some columns for each language
    ranks = np.zeros_like(added.rows)
    missing, ends = np.maximum(0, room - _held(selection, languages, eligible)), np.cumsum(room)  # [Q, L], [L]
    for place, lang in enumerate(eligible):
        if missing[:, place].any():
            columns = slice(int(ends[place] - room[place]), int(ends[place]))
            _search(selection, added, ranks, columns, missing[:, place], languages.numbers == lang, retriever, rules)
    _put(selection, added, ranks, languages, eligible, least)
    total = int((selection.ranks[-1] > 0).sum())
    reporter.say(f"{total:,} candidates added for passage languages that had fewer than {least} in a list")
    return total


def _numbers(languages: Languages, rows: Rows) -> NDArray[np.int32]:
    """The languages of passages, -1 of padding."""
    there = rows != PADDING
    return np.where(there, languages.numbers[np.where(there, rows, 0)], np.int32(-1))


def _held(selection: Selection, languages: Languages, eligible: list[int]) -> Ints:
    """[Q, L] candidates of each language that counts."""
    held = np.zeros((len(selection.rows), len(eligible)), dtype=np.int64)
    for some in blocks(*selection.rows.shape):
        numbers = _numbers(languages, selection.rows[some])
        for place, lang in enumerate(eligible):
            held[some, place] = (numbers == lang).sum(axis=1)
    return held


def _search(
    selection: Selection, added: Lists, ranks: Rows, columns: slice, missing: Ints, only: Bools, retriever: EncoderSource, rules: Rules
) -> None:
    """Add the best `missing` [Q] passages among `only` [n] and their ranks; twice as deep where the first ones may not be taken."""
    size, width = int(only.sum()), columns.stop - columns.start
    depth = min(size, width + rules.first_rank)  # what is there already, skipped or left out may come first
    unfinished = np.flatnonzero(missing > 0)
    while len(unfinished):
        found, waiting = retriever.find(unfinished, depth, only), []
        for some in blocks(len(unfinished), selection.rows.shape[1] + added.rows.shape[1] + depth):
            queries, part = unfinished[some], found.part(some)
            take = _usable(selection, added, queries, part, rules)
            take &= np.cumsum(take, axis=1) <= missing[queries][:, None]
            full = take.sum(axis=1) == missing[queries]
            settled: Bools = full | (depth == size) | (part.scores[:, -1] < selection.least_scores[queries])
            which, rank = queries[settled], np.broadcast_to(np.arange(1, depth + 1, dtype=np.uint32), take.shape)
            added.rows[which, columns] = compact(part.rows, take, width)[settled]
            added.scores[which, columns] = compact(part.scores, take, width, -np.inf)[settled]
            ranks[which, columns] = compact(rank, take, width, 0)[settled]
            waiting.append(queries[~settled])
        unfinished, depth = np.concatenate(waiting), min(2 * depth, size)


def _usable(selection: Selection, added: Lists, queries: Ints, found: Lists, rules: Rules) -> Bools:
    """[q, w] what may be taken of what was found."""
    there = np.concatenate([selection.skipped[queries], selection.rows[queries], added.rows[queries]], axis=1)
    free: Bools = (found.rows != PADDING) & (found.rows != rules.source_passages[queries][:, None])
    free &= (found.scores >= selection.least_scores[queries][:, None]) & (places_of(there, found.rows) < 0)
    both = np.concatenate([there, found.rows], axis=1)
    new = rules.duplicates.first(both, np.concatenate([there != PADDING, free], axis=1), both.shape[1])
    return new[:, there.shape[1] :]


def _put(selection: Selection, added: Lists, added_ranks: Rows, languages: Languages, eligible: list[int], least: int) -> None:
    """Put what was added behind the lists, and note anew which source found what."""
    queries, k = selection.rows.shape
    ranks, scores = np.zeros((queries, k), dtype=np.uint32), np.full((queries, k), np.nan, dtype=np.float32)
    for some in blocks(queries, k + added.rows.shape[1]):
        rows, more = selection.rows[some], added.rows[some]
        stays = _staying(rows, (more != PADDING).sum(axis=1), _numbers(languages, rows), eligible, least)
        keep = np.concatenate([stays, more != PADDING], axis=1)
        selection.rows[some] = compact(np.concatenate([rows, more], axis=1), keep, k)
        both = np.concatenate([selection.scores[some], added.scores[some]], axis=1)
        selection.scores[some] = compact(both, keep, k, -np.inf)
        ranks[some] = compact(np.concatenate([np.zeros_like(rows), added_ranks[some]], axis=1), keep, k, 0)
        scores[some] = np.where(ranks[some] > 0, selection.scores[some], np.float32(np.nan))
    selection.ranks = np.concatenate([selection.ranks, ranks[None]])
    selection.source_scores = np.concatenate([selection.source_scores, scores[None]])
    for searched, lists in selection.searched:
        for some in blocks(len(searched), k + lists[0].rows.shape[1]):
            for source, found in enumerate(lists):
                selection.note(source, searched[some], found.part(some))


def _staying(rows: Rows, added: Ints, numbers: NDArray[np.int32], eligible: list[int], least: int) -> Bools:
    """[q, k] the candidates that stay where `added` [q] come: the last of those beyond `least`, or that do not count, go."""
    place = np.zeros(rows.shape, dtype=np.int32)  # of a candidate among those of its language
    for lang in eligible:
        own = numbers == lang
        place[own] = np.cumsum(own, axis=1)[own]
    there = rows != PADDING
    spare = there & ((place > least) | ~np.isin(numbers, eligible))
    over = np.maximum(0, there.sum(axis=1) + added - rows.shape[1])
    from_end = np.cumsum(spare[:, ::-1], axis=1)[:, ::-1]
    stays: Bools = there & ~(spare & (from_end <= over[:, None]))
    return stays
