"""Drawn problems for the selection of candidates, with stand-ins for embeddings, texts and the search.

Imported as `mine.drawn` (`tests/` is on the path).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference import candidates as slow
from train.rig import Notes
from umr.config import MineConfig
from umr.data.candidates import PADDING
from umr.data.corpus_langs import Languages
from umr.mine import sources
from umr.mine.duplicates import Duplicates
from umr.mine.select import Rules
from umr.mine.sources import EncoderSource, RunSource
from umr.search.lists import Lists

SEEDS = st.integers(0, 2**32 - 1)


@dataclass
class Vectors:
    """Stands for embeddings: rows and vectors."""

    table: NDArray[np.float32]

    @property
    def rows(self) -> int:
        return len(self.table)

    def read(self, rows: NDArray[np.uint32]) -> NDArray[np.float32]:
        return self.table[rows]


def full_sort(queries: Any, passages: Any, k: int, config: Any, reporter: Any, only: Any = None) -> Any:
    """Stands for the search."""
    return Lists(*slow.full_sort(queries, passages.table, k, only))


class Texts:
    """Stands for passages: texts alone."""

    def __init__(self, texts: list[str]) -> None:
        self.all = texts

    def __len__(self) -> int:
        return len(self.all)

    def texts(self, rows: Any) -> list[tuple[str, str]]:
        return [("", self.all[row]) for row in rows]


@dataclass
class World:
    """A drawn problem."""

    retriever: EncoderSource
    other: EncoderSource
    run: RunSource
    rules: Rules
    languages: Languages
    texts: list[str]

    @property
    def scores(self) -> NDArray[np.float32]:
        table: Any = self.retriever.passages
        return (self.retriever.queries.astype(np.float64) @ table.table.T.astype(np.float64)).astype(np.float32)

    @property
    def scored_rules(self) -> bool:
        """Whether scores decide who is left out."""
        return bool(np.isfinite(self.rules.min_score) or np.isfinite(self.rules.margin))

    def alike(self, a: int, b: int) -> bool:
        kind = self.rules.duplicates.kind
        if kind == "off":
            return False
        return self.texts[a] == self.texts[b] if kind == "exact" else slow.jaccard(self.texts[a], self.texts[b]) >= 0.8


def world(seed: int, kind: Any) -> World:
    """A small corpus with ties, a run, rules and languages."""
    rng = np.random.default_rng(seed)
    n, q, k = int(rng.integers(4, 30)), int(rng.integers(1, 5)), int(rng.integers(1, 8))
    k = min(k, n)

    def vectors(count: int) -> NDArray[np.float32]:
        return rng.integers(-3, 4, (count, 3)).astype(np.float32)  # many ties

    def encoder(name: str) -> EncoderSource:
        return EncoderSource(name, {}, vectors(q), Vectors(vectors(n)), MineConfig(), Notes())  # type: ignore[arg-type]

    width = int(rng.integers(1, n + 1))
    rows = np.stack([rng.permutation(n)[:width] for _ in range(q)]).astype(np.uint32)
    rows[np.arange(width) >= rng.integers(0, width + 1, q)[:, None]] = PADDING
    run = RunSource("run1", {}, rows, np.where(rows == PADDING, -np.inf, -np.arange(width)).astype(np.float32))
    words = ["stone bridge over water", "stone bridges over water", "a song of winter", "the north mountain is old and high"]
    texts = [str(rng.choice(words)) + (" " + str(rng.integers(0, 3)) if rng.random() < 0.5 else "") for _ in range(n)]
    rules = Rules(
        k, np.where(rng.random(q) < 0.5, rng.integers(0, n, q), -1), Duplicates(Texts(texts), kind),  # type: ignore[arg-type]
        min_score=float(rng.choice([-np.inf, -2, 0, 100])), margin=float(rng.choice([np.inf, 3, 0])), first_rank=int(rng.integers(1, 4)),
    )  # fmt: skip
    numbers = np.sort(rng.integers(0, int(rng.integers(1, 4)), n)).astype(np.int32)
    codes, numbers = np.unique(rng.permutation(numbers), return_inverse=True)
    told = frozenset(f"l{code}" for code in codes if rng.random() < 0.5)
    languages = Languages(tuple(f"l{code}" for code in codes), numbers.astype(np.int32), "", told)
    return World(encoder("encoder"), encoder("encoder2"), run, rules, languages, texts)


def plain(values: NDArray[np.uint32]) -> list[list[int]]:
    """Lists without their padding."""
    return [[int(row) for row in line if row != PADDING] for line in values]


def rankings_of(case: World, used: list[Any], query: int) -> list[list[int]]:
    """What each source finds for a query, all of it."""
    n = case.retriever.passages.rows
    with mock.patch.object(sources, "find", full_sort):
        return [plain(source.find(np.array([query]), n).rows)[0] for source in used]


def small(scores: list[float], numbers: list[int], codes: tuple[str, ...], told: frozenset[str] = frozenset()) -> tuple[Any, Languages]:
    """One query of the vector 1, passages of one dimension."""
    table = np.array(scores, dtype=np.float32)[:, None]
    retriever = EncoderSource("encoder", {}, np.ones((1, 1), dtype=np.float32), Vectors(table), MineConfig(), Notes())  # type: ignore[arg-type]
    return retriever, Languages(codes, np.array(numbers, dtype=np.int32), "", told)
