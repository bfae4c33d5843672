"""BM25 as a source of candidates: words that query and passage share, in any language; through the library bm25s."""

from __future__ import annotations

import re
import sys
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from umr._rust import Records
from umr.errors import InputError, MissingExtraError
from umr.progress import Bar, Reporter
from umr.search.lists import Floats, Ints, Lists, no_lists
from umr.sizes import free_memory

READ_PASSAGES = 8192  # whose texts are read at once
PASSES = 3  # of bm25s over the corpus: lengths, words, scores
WORD_BYTES = 30  # that a word of the corpus takes while the index is made
SAMPLE_PASSAGES = 4096  # whose words are counted to tell the memory
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

    The index is made in memory when it is first searched: about 30 bytes a word of the corpus while it is made, then 8 bytes for
    each different word of each passage.

    Arguments:
        passages: the corpus; titles count like text.
        queries: the queries' texts.
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
        self.about = {"what": "BM25"}
        self.passages, self.texts, self.reporter = passages, queries, reporter

    def find(self, queries: Ints, depth: int) -> Lists:
        """See `umr.mine.sources.EncoderSource`: score down, then row up."""
        index, words_of = self._made
        found = no_lists(len(queries), depth)
        with self.reporter.bar("searching with BM25", len(queries), "queries") as bar:
            for place, query in enumerate(queries.tolist()):
                if words_of[query]:
                    rows, scores = _best(index.get_scores_from_ids(words_of[query]), depth)
                    found.rows[place, : len(rows)], found.scores[place, : len(rows)] = rows, scores
                bar.advance(1)
        return found

    @cached_property
    def _made(self) -> tuple[Any, list[list[int]]]:
        """The index, and the words of each query by number."""
        from bm25s import BM25
        from bm25s.tokenization import Tokenized

        known: dict[str, int] = {}
        documents = self._documents(known)
        index = BM25(method="lucene", k1=1.5, b=0.75)
        if known:
            with self.reporter.bar("making the BM25 index", len(documents), "passages") as documents.bar:
                index.index(Tokenized(ids=documents, vocab=known), create_empty_token=False, show_progress=False)
        return index, [[known[word] for word in words(text) if word in known] for text in self.texts]

    def _documents(self, known: dict[str, int]) -> _Documents:
        documents = _Documents()
        with self.reporter.bar("splitting passages into words", len(self.passages), "passages") as bar:
            for start in range(0, len(self.passages), READ_PASSAGES):
                rows = np.arange(start, min(start + READ_PASSAGES, len(self.passages)), dtype=np.uint32)
                for title, text in self.passages.texts(rows):
                    documents.append(array("i", [known.setdefault(word, len(known)) for word in words(f"{title} {text}")]))
                bar.advance(len(rows))
        return documents


def _best(scores: Floats, depth: int) -> tuple[Ints, Floats]:
    """Rows and scores of the passages that share a word, at most `depth`: score down, then row up."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > depth:
        rows = rows[scores[rows] >= np.partition(scores[rows], -depth)[-depth]]
    rows = rows[np.lexsort((rows, -scores[rows]))][:depth]
    return rows, scores[rows]


class _Documents(list["array[int]"]):
    """The passages as numbers of words; a bar shows how far bm25s is with its passes through them."""

    bar: Bar

    def __iter__(self) -> Iterator[array[int]]:
        for start in range(0, len(self), READ_PASSAGES):
            part = self[start : start + READ_PASSAGES]
            self.bar.advance(len(part) / PASSES)
            yield from part


def require_memory(passages: Records) -> None:
    """Refuse a corpus whose index would not fit.

    Arguments:
        passages: the corpus, of which some thousand passages from all of it are counted.

    Raises:
        InputError: names the need and what is free.
    """
    rows = np.unique(np.linspace(0, len(passages) - 1, min(SAMPLE_PASSAGES, len(passages))).astype(np.uint32))
    counted = sum(len(words(f"{title} {text}")) for title, text in passages.texts(rows))
    need, free = WORD_BYTES * counted * len(passages) // len(rows), free_memory("cpu")
    if need > free:
        raise InputError(
            f"the BM25 index of {len(passages):,} passages takes about {need / 1e9:,.1f} GB of memory, but {free / 1e9:,.1f} GB are free",
            "make a run with another engine and give it with --run, or leave out --bm25",
        )
