"""Duplicates in one query's list: passages of the same text, or of nearly the same."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records, fingerprint
from umr.config import Collapse
from umr.data.candidates import PADDING
from umr.mine.lists import firsts
from umr.search.lists import Bools, Rows

READ_PASSAGES = 8192  # whose texts are read at once
COMPARED_PASSAGES = 256  # of a list at once
CACHED_PASSAGES = 1 << 15  # whose shingles are kept for the lists to come: about 8 kB each at 1,000 characters
SHINGLE = 5  # characters
NEAR_SIMILARITY = 0.8  # least Jaccard similarity of the shingles of near duplicates

Hashes = NDArray[np.uint64]


def normal(title: str, text: str) -> str:
    """The text as it is compared: compatibility forms and case folded, runs of white space made one space; the title where it is empty."""
    return " ".join(unicodedata.normalize("NFKC", text if text.strip() else title).casefold().split())


def shingles(text: str) -> Hashes:
    """Hashes of the different runs of five characters of a text without its spaces, sorted; of a shorter one, the whole.

    Arguments:
        text: see `normal`.
    """
    letters = np.frombuffer(text.replace(" ", "").encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    count = max(1, len(letters) - SHINGLE + 1)
    letters = np.concatenate([letters, np.zeros(max(0, SHINGLE - len(letters)), dtype=np.uint64)])
    hashes = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(SHINGLE):
            hashes = (hashes ^ letters[place : place + count]) * np.uint64(0x9E3779B97F4A7C15)
            hashes ^= hashes >> np.uint64(29)
    return np.unique(hashes)


class Duplicates:
    """Tells which passages of a list repeat an earlier one of it.

    Near duplicates are told by their characters and not by their vectors: inner products of one encoder lie in 0.7 to 1 and of
    another in 0 to 1, so that no threshold fits both, and translations, which are worth labelling, lie closest of all.

    Arguments:
        passages: the corpus; only passages that come up are read, each once for `exact`: 9 bytes a passage of the corpus. For
            `near` the shingles of the last 32,768 are kept.
        kind: off; exact, the same text; or near, nearly the same.
    """

    def __init__(self, passages: Records, kind: Collapse) -> None:
        self.passages, self.kind = passages, kind
        if kind == "exact":
            self.keys, self.known = np.zeros(len(passages), dtype=np.uint64), np.zeros(len(passages), dtype=np.bool_)
        self.shingles = lru_cache(CACHED_PASSAGES)(self._shingles)

    def first(self, rows: Rows, keep: Bools, need: int) -> Bools:
        """What is left of lists when every passage that repeats an earlier kept one is dropped.

        Arguments:
            rows: [Q, w] rows of the corpus.
            keep: [Q, w] which of them count.
            need: where so many are left, what stands behind is not looked at, and kept.
        """
        keep = keep & (rows != PADDING)
        if self.kind == "off":
            return keep
        return self._exact(rows, keep) if self.kind == "exact" else self._near(rows, keep, need)

    def _exact(self, rows: Rows, keep: Bools) -> Bools:
        unique = np.unique(rows[keep])
        unread = unique[~self.known[unique]]
        for start in range(0, len(unread), READ_PASSAGES):
            some = unread[start : start + READ_PASSAGES]
            found = [int(fingerprint(normal(*texts))[:15], 16) for texts in self.passages.texts(some)]
            self.keys[some], self.known[some] = found, True
        keys = np.full(rows.shape, np.uint64(2**64 - 1))
        keys[keep] = self.keys[rows[keep]]
        return keep & firsts(keys)

    def _near(self, rows: Rows, keep: Bools, need: int) -> Bools:
        kept = keep.copy()
        for query in range(len(rows)):
            places = np.flatnonzero(keep[query])
            kept[query, places] = self._greedy(rows[query, places], need)
        return kept

    def _greedy(self, rows: Rows, need: int) -> list[bool]:
        """Whether each passage is kept, in order: those that are not like any kept before."""
        kept: list[Hashes] = []
        found: list[bool] = []
        for start in range(0, len(rows), COMPARED_PASSAGES):
            if len(kept) >= need:
                break
            block = [self.shingles(row) for row in rows[start : start + COMPARED_PASSAGES].tolist()]
            alike = _alike(block, kept + block)
            chosen = [True] * len(kept) + [False] * len(block)
            for place in range(len(block)):
                new = not (alike[place] & chosen).any() if sum(chosen) < need else True
                chosen[len(kept) + place] = new
                found.append(new)
            kept += [own for own, new in zip(block, chosen[len(kept) :], strict=True) if new]
        return found + [True] * (len(rows) - len(found))

    def _shingles(self, row: int) -> Hashes:
        return shingles(normal(*self.passages.texts(np.array([row], dtype=np.uint32))[0]))


def _alike(some: list[Hashes], others: list[Hashes]) -> Bools:
    """[m, n] whether sets of shingles are nearly the same, of m and n."""
    from scipy.sparse import csr_array

    sizes = [np.array([len(own) for own in sets], dtype=np.int64) for sets in (some, others)]
    _, columns = np.unique(np.concatenate([*some, *others]), return_inverse=True)
    ends = [np.concatenate([[0], np.cumsum(size)]) for size in sizes]
    width, middle = int(columns.max()) + 1, int(ends[0][-1])
    ones = [np.ones(end[-1], dtype=np.int32) for end in ends]
    a = csr_array((ones[0], columns[:middle], ends[0]), shape=(len(some), width))
    b = csr_array((ones[1], columns[middle:], ends[1]), shape=(len(others), width))
    common = (a @ b.T).toarray()
    near: Bools = common >= NEAR_SIMILARITY * (sizes[0][:, None] + sizes[1] - common)
    return near
