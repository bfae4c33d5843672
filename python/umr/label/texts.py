"""What the language model will read, as token ids on disk: the sources and targets of all pairs, each tokenised once.

The ids are those of `prompt.source_ids` and `prompt.target_ids`, to the token. A source is cut by its own length and that of
the pair's target, never by what else is in a batch. What cannot be scored is found here, before any work, and named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umr.data.workspace import Workspace
from umr.errors import UsageError
from umr.label.pairs import EMPTY, Pairs
from umr.label.ragged import Ragged, Writer, read_ragged
from umr.label.reading import Passage, Reading
from umr.label.sources import Sources, endings, find_tails
from umr.progress import Bar, Reporter

CHUNK = 2048  # passages whose texts are read and tokenised at once
WORTH = 8  # sources for each passage of the sample, from which on looking for common ends pays
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Texts:
    """Token ids of the pairs that a plan scores.

    Arguments:
        source_of, target_of: [m] the texts of each pair.
        sources, targets: their ids.
    """

    source_of: Ints
    target_of: Ints
    sources: Ragged
    targets: Ragged


def read_texts(folder: Path) -> Texts:
    """Open the texts of a plan."""
    source_of, target_of = (np.load(folder / f"{name}-of.npy", allow_pickle=False) for name in ("source", "target"))
    return Texts(source_of, target_of, read_ragged(folder, "sources"), read_ragged(folder, "targets"))


def write_texts(folder: Path, workspace: Workspace, pairs: Pairs, numbers: Ints, reading: Reading, reporter: Reporter) -> None:
    """Tokenise pairs into a folder.

    Arguments:
        folder: of the plan.
        workspace: gives the texts.
        pairs: of the round.
        numbers: [m] which of them.
        reading: how.
        reporter: shows a bar.

    Raises:
        UsageError: a question, a passage or a prompt that the model cannot take; the message names it.
    """
    target_of, lengths = _write_targets(folder, workspace, pairs, numbers, reading)
    np.save(folder / "target-of.npy", target_of)
    task = _Sources(workspace, pairs, numbers, reading, reporter)
    room = np.array([reading.room(int(n)) for n in range(int(lengths.max()) + 1)])[lengths[target_of]]
    np.save(folder / "source-of.npy", task.write(folder, room))


def _write_targets(folder: Path, workspace: Workspace, pairs: Pairs, numbers: Ints, reading: Reading) -> tuple[Ints, Ints]:
    """The target [m] of every pair, and the tokens of each target."""
    queries, target_of = np.unique(pairs.queries[numbers], return_inverse=True)
    texts, names = workspace.queries.texts(), pairs.candidates.query_ids
    with Writer(folder, "targets") as writer:
        for query in queries.tolist():
            writer.add([reading.target(names[query], texts[query])])
    return target_of.astype(np.int64), writer.lengths


class _Sources:
    """The sources of some pairs: every (passage, language) once, then those that are too long, cut to the room they have.

    Arguments:
        workspace, pairs, numbers, reading, reporter: see `write_texts`.
    """

    def __init__(self, workspace: Workspace, pairs: Pairs, numbers: Ints, reading: Reading, reporter: Reporter) -> None:
        self.workspace, self.pairs, self.numbers, self.reading, self.reporter = workspace, pairs, numbers, reading, reporter
        self.codes, lang_of = np.unique(np.array(pairs.candidates.langs, dtype=np.str_), return_inverse=True)
        asked = np.stack([pairs.rows[numbers], lang_of[pairs.queries[numbers]]], axis=1)
        self.asked, of = np.unique(asked, axis=0, return_inverse=True)  # [u, 2] passage row, language
        self.of: Ints = of.reshape(-1).astype(np.int64)  # [m]

    def write(self, folder: Path, room: Ints) -> Ints:
        """Write all sources; the source [m] of every pair, which has `room` [m] tokens for it."""
        with Writer(folder, "sources") as writer:
            with self.reporter.bar("reading passages", len(self.asked), "prompts") as bar:
                lengths = self._whole(writer, bar)
            long = np.flatnonzero(lengths[self.of] > room)
            if len(long):
                wanted, place = np.unique(np.stack([self.of[long], room[long]], axis=1), axis=0, return_inverse=True)
                self._cut(writer, wanted)
                self.of[long] = len(self.asked) + place.reshape(-1)
        return self.of

    def _whole(self, writer: Writer, bar: Bar) -> Ints:
        """Write sources that are not too long, and nothing in place of others; the lengths [u] of all."""
        starts = np.flatnonzero(np.diff(self.asked[:, 0], prepend=np.int64(EMPTY - 1)))
        bounds = [*starts.tolist(), len(self.asked)]
        sources, lengths = Sources(self.reading.prompt, self.reading.tokenizer), []
        for first in range(0, len(starts), CHUNK):
            last = min(first + CHUNK, len(starts))
            texts = passages(self.workspace, self.asked[starts[first:last], 0])
            if first == 0:
                sources.tails = self._tails(sources, texts)
            found = sources.ids(texts, [self._langs(bounds[n], bounds[n + 1]) for n in range(first, last)])
            lengths += [len(ids) for ids in found]
            writer.add([ids if len(ids) <= self.reading.limit else [] for ids in found])
            bar.advance(len(found))
        return np.array(lengths, dtype=np.int64)

    def _tails(self, sources: Sources, texts: list[Passage]) -> dict[str, list[int]] | None:
        sample = endings(texts)
        used = [str(code) for code in self.codes[np.unique(self.asked[:, 1])]]
        return find_tails(sources, sample, used) if len(self.asked) > WORTH * len(sample) else None

    def _langs(self, start: int, end: int) -> list[str]:
        return [str(code) for code in self.codes[self.asked[start:end, 1]]]

    def _cut(self, writer: Writer, wanted: Ints) -> None:
        with self.reporter.bar("cutting long passages", len(wanted), "prompts") as bar:
            for start in range(0, len(wanted), CHUNK):
                some = wanted[start : start + CHUNK]
                rows = np.unique(self.asked[some[:, 0], 0])
                texts = dict(zip(rows.tolist(), passages(self.workspace, rows), strict=True))
                for source, limit in some.tolist():
                    writer.add([self._cut_one(texts, source, limit)])
                    bar.advance(1)

    def _cut_one(self, texts: dict[int, Passage], source: int, limit: int) -> list[int]:
        row, lang = self.asked[source].tolist()
        try:
            return self.reading.source(texts[row], str(self.codes[lang]), limit)
        except UsageError as error:
            number = self.numbers[np.flatnonzero(self.of == source)[0]]
            query, passage = self.pairs.names(self.workspace, int(number))
            raise UsageError(f"query {query!r} and passage {passage!r}: {error.message}", error.hint) from error


def passages(workspace: Workspace, rows: Ints) -> list[Passage]:
    """Titles and texts of passage rows; both are empty for the row EMPTY."""
    found = iter(workspace.passages.texts(rows[rows != EMPTY].astype(np.uint32)))
    return [("", "") if row == EMPTY else next(found) for row in rows.tolist()]
