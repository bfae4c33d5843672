"""The languages of candidate passages: the records' own, else identified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING
from umr.languages import identify
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr._rust import Records

STEP = 4096  # passages whose texts are read at once
LETTERS = 1000  # of a passage, which tell its language well enough


def passage_languages(passages: Records, rows: NDArray[np.uint32], reporter: Reporter) -> NDArray[np.int32]:
    """A number for the language of every candidate, equal where the languages are.

    Arguments:
        passages: the corpus.
        rows: [Q, k] uint32 rows of it, or PADDING, whose number means nothing; each passage is looked at once.
        reporter: shows the identification, and is told how many passages carry no language.

    Returns:
        [Q, k] int32 numbers of codes in alphabetical order.
    """
    unique, place = np.unique(rows, return_inverse=True)
    if len(unique) and unique[-1] == PADDING:  # the largest of all; it takes the number of the passage before it
        unique, place = unique[:-1], np.minimum(place, max(0, len(unique) - 2))
    if not len(unique):
        return np.zeros(rows.shape, dtype=np.int32)
    codes = np.array(passages.langs(unique), dtype=object)
    missing = np.flatnonzero(codes == "")
    if len(missing):
        reporter.say(f"{len(missing):,} of {len(unique):,} candidate passages carry no language: identified from their text")
        with reporter.bar("identifying languages", len(missing), "passages") as bar:
            for start in range(0, len(missing), STEP):
                some = missing[start : start + STEP]
                codes[some] = identify([text[:LETTERS] for _, text in passages.texts(unique[some])])
                bar.advance(len(some))
    _, numbers = np.unique(codes.astype(str), return_inverse=True)
    return numbers.astype(np.int32)[place].reshape(rows.shape)
