"""BM25 as a source of candidates: words that question and passage share, in any language; through the library bm25s."""

from __future__ import annotations

import re
import sys
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from umr.errors import InputError, MissingExtraError
from umr.mine.lists import Ints, Lists, no_lists
from umr.progress import Bar, Reporter
from umr.sizes import free_memory

if TYPE_CHECKING:
    from umr._rust import Records

STEP = 8192  # passages whose texts are read at once
PASSES = 3  # of bm25s over the corpus: lengths, words, scores
BYTES = 30  # a word of the corpus while the index is made
SAMPLE = 4096  # passages whose words are counted to tell the memory
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
"""Scripts written without spaces: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han."""
SCRIPTS = re.compile(rf"([{UNSPACED}]+)|([^{UNSPACED}]+)")


def words(text: str) -> list[str]:
    """The words of a text, in no language's particular way.

    Compatibility forms and case are folded. A word is a run of letters, digits and the marks that belong to them; of scripts
    written without spaces, every two neighbouring characters are one, and a lone character too. Nothing is stemmed, and no
    word is left out.
    """
    found: list[str] = []
    for run in _runs().findall(unicodedata.normalize("NFKC", text).casefold().replace("_", " ")):
        if run.isascii():
            found.append(run)
            continue
        for unspaced, word in SCRIPTS.findall(run):
            found += [word] if word else [unspaced[i : i + 2] for i in range(max(1, len(unspaced) - 1))]
    return found


@cache
def _runs() -> re.Pattern[str]:
    """Letters, digits and marks: without the marks, words of Indic scripts would break at their vowels."""
    marks = "".join(chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M")
    return re.compile(rf"[\w{marks}]+")


class Bm25:
    """The passages of the largest BM25 score (Lucene's form, k1 1.5, b 0.75); those that share no word are not found.

    The index is made in memory when it is first searched, and gone when the source is closed: about 30 bytes a word of the corpus
    while it is made, then 8 bytes for each different word of each passage.

    Arguments:
        passages: the corpus; titles count like text.
        queries: the questions' texts.
        reporter: shows the indexing.

    Raises:
        MissingExtraError: bm25s is not installed.
        InputError: the index would take more memory than is free.
    """

    name = "bm25"

    def __init__(self, passages: Records, queries: Sequence[str], reporter: Reporter) -> None:
        if find_spec("bm25s") is None:
            raise MissingExtraError("mining with BM25 needs the package bm25s", "pip install 'umr[bm25]'")
        require_memory(passages)
        self.passages, self.texts, self.reporter = passages, queries, reporter
        self.made: tuple[Any, list[list[int]]] | None = None  # the index, and the words of each query by number

    def find(self, queries: Ints, depth: int) -> Lists:
        """See `umr.mine.sources.Source`: score down, then row up."""
        index, asked = self.made = self.made or self._make()
        found = no_lists(len(queries), depth)
        with self.reporter.bar("searching with BM25", len(queries), "queries") as bar:
            for place, query in enumerate(queries.tolist()):
                if asked[query]:
                    self._best(found, place, index.get_scores_from_ids(asked[query]), depth)
                bar.advance(1)
        return found

    def close(self) -> None:
        """See `umr.mine.sources.Source`."""
        self.made = None

    def _make(self) -> tuple[Any, list[list[int]]]:
        known: dict[str, int] = {}
        index = _index(_Documents(self.passages, known, self.reporter), known)
        return index, [[known[word] for word in words(text) if word in known] for text in self.texts]

    def _best(self, found: Lists, place: int, scores: Any, depth: int) -> None:
        rows = np.flatnonzero(scores > 0)
        if len(rows) > depth:
            rows = rows[scores[rows] >= np.partition(scores[rows], -depth)[-depth]]
        rows = rows[np.lexsort((rows, -scores[rows]))][:depth]
        found.rows[place, : len(rows)], found.scores[place, : len(rows)] = rows, scores[rows]


class _Documents:
    """The corpus as numbers of words, one behind the other: a sequence of lists, as bm25s takes it."""

    def __init__(self, passages: Records, known: dict[str, int], reporter: Reporter) -> None:
        self.ids, self.ends, self.reporter = array("i"), array("q", [0]), reporter
        self.bar: Bar | None = None  # of those who go through it
        with reporter.bar("splitting passages into words", len(passages), "passages") as bar:
            for start in range(0, len(passages), STEP):
                rows = np.arange(start, min(start + STEP, len(passages)), dtype=np.uint32)
                for title, text in passages.texts(rows):
                    self.ids.extend(known.setdefault(word, len(known)) for word in words(f"{title} {text}"))
                    self.ends.append(len(self.ids))
                bar.advance(len(rows))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, place: int) -> list[int]:
        return self.ids[self.ends[place] : self.ends[place + 1]].tolist()

    def __iter__(self) -> Iterator[list[int]]:
        for place in range(len(self)):
            if self.bar is not None and place % STEP == 0:
                self.bar.advance(min(STEP, len(self) - place) / PASSES)
            yield self[place]


def _index(documents: _Documents, known: dict[str, int]) -> Any:
    from bm25s import BM25
    from bm25s.tokenization import Tokenized

    if not known:
        return None
    index = BM25(method="lucene", k1=1.5, b=0.75)
    with documents.reporter.bar("making the BM25 index", len(documents), "passages") as documents.bar:
        index.index(Tokenized(ids=documents, vocab=known), create_empty_token=False, show_progress=False)
    return index


def require_memory(passages: Records) -> None:
    """Refuse a corpus whose index would not fit.

    Arguments:
        passages: the corpus, of which some thousand passages from all of it are counted.

    Raises:
        InputError: names the need and what is free.
    """
    rows = np.unique(np.linspace(0, len(passages) - 1, min(SAMPLE, len(passages))).astype(np.uint32))
    counted = sum(len(words(f"{title} {text}")) for title, text in passages.texts(rows))
    need, free = BYTES * counted * len(passages) // len(rows), free_memory("cpu")
    if need > free:
        raise InputError(
            f"the BM25 index of {len(passages):,} passages takes about {need / 1e9:,.1f} GB of memory, but {free / 1e9:,.1f} GB are free",
            "make a run with another engine and give it with --run, or leave out --bm25",
        )
