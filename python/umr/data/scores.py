"""The score store: append-only log p(query | passage), keyed by content, shared by rounds and by work folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr._rust import ScoreLog
from umr._rust import merge_stores as merge
from umr.errors import InputError, StorageError
from umr.manifest import digest, read_manifest, require_same, write_manifest

if TYPE_CHECKING:
    from os import PathLike

    from umr.progress import Reporter

MANIFEST = "manifest.json"
HEADER_BYTES, RECORD_BYTES = 32, 40  # of a segment

Keys = NDArray[np.uint64]  # [m, 2]


@dataclass(frozen=True)
class ScoreStore:
    """Scores of one language model, template, truncation and precision.

    Arguments:
        folder: holds a manifest and segments; a segment is only ever appended to, by one process.
        identity: digest of what decides its scores. Each segment holds it: one of another store is not read.
    """

    folder: Path
    identity: str

    def segments(self) -> list[str]:
        """The segments by name, one of each process that scored something: rounds, ranks, work folders."""
        return sorted(str(p) for p in self.folder.glob("*.scores"))

    @property
    def records(self) -> int:
        """Records in all segments, told by the sizes of the files alone."""
        return sum(max(0, Path(segment).stat().st_size - HEADER_BYTES) // RECORD_BYTES for segment in self.segments())

    @contextmanager
    def appending(self) -> Iterator[ScoreLog]:
        """A new segment of our own, open for appending while the context lasts."""
        log = self._new_segment()
        try:
            yield log
        finally:
            log.close()

    def _new_segment(self) -> ScoreLog:
        for number in range(1_000_000):
            path = self.folder / f"segment-{number:06d}.scores"
            if path.exists():
                continue
            try:
                return ScoreLog.create(str(path), self.identity)
            except StorageError as error:
                if "exists already" not in error.message:  # else another process was quicker
                    raise
        raise StorageError(f"{self.folder} holds a million segments", "merge them: label into a new store")


def open_scores(base: Path, made_from: Mapping[str, Any]) -> ScoreStore:
    """Open, or begin, the store of one way of scoring.

    Arguments:
        base: the folder of stores; work folders that share it share scores.
        made_from: fingerprint of the language model, template, target, reduction, truncation, precision.

    Raises:
        MismatchError: the folder of this fingerprint holds something else.
        InputError: `base` is a file.
    """
    if base.is_file():
        raise InputError(f"{base} is a file, expected a folder of score stores", "give a folder with --store")
    identity = digest(made_from)
    folder = base / identity[:16]
    manifest = folder / MANIFEST
    if manifest.exists():
        require_same(
            manifest, "the scores were made", read_manifest(manifest, "scores")["made_from"], made_from, "give another --store folder"
        )
    else:
        write_manifest(manifest, "scores", made_from, {})
    return ScoreStore(folder, identity)


def merge_stores(
    stores: Sequence[ScoreStore],
    query_keys: Keys,
    passage_keys: Keys,
    rows: NDArray[np.uint32],
    reporter: Reporter | None = None,
) -> tuple[NDArray[np.float32], list[dict[str, int]]]:
    """The scores of candidates in several stores, one for each language model.

    Where a pair stands twice in a store, the first record counts: segments by name, records in the order written; a later one with
    another score is a conflict, counted and left out. Damaged records are left out, and whole segments whose header is damaged or
    that were copied from another store.

    Arguments:
        stores: M stores.
        query_keys: [Q, 2] content keys; queries may share one.
        passage_keys: [n, 2] content keys; passages may share one.
        rows: [Q, k] rows of `passage_keys`; `candidates.PADDING` where a query has fewer candidates.
        reporter: warned of what is left out.

    Returns:
        [M, Q, k] float32 nats, NaN where a store lacks the pair, and counts of each store: `records` read, `torn` segments,
        `duplicates` (a wanted pair again, with the same score) and `conflicts` (with another score), a record once a query that
        wants it.

    Raises:
        UsageError: a row names no passage, or shapes do not fit together.
    """
    scores, counts, flaws = merge([(store.identity, store.segments()) for store in stores], query_keys, passage_keys, rows)
    if reporter:
        for path, records in chain.from_iterable(flaws):
            reporter.warn(f"{_words(path, records)}: left out, and what is missing is scored again")
    return scores, counts


def verify_scores(folder: Path) -> tuple[list[str], list[str]]:
    """Read the segments of a store.

    Returns:
        the segments, and what is wrong with them, in words.

    Raises:
        FormatError, MismatchError: the manifest of the store is damaged.
    """
    store = ScoreStore(folder, digest(read_manifest(folder / MANIFEST, "scores")["made_from"]))
    none = np.empty((0, 2), dtype=np.uint64)
    _, _, (flaws,) = merge([(store.identity, store.segments())], none, none, np.empty((0, 1), dtype=np.uint32))
    return store.segments(), [_words(path, records) for path, records in flaws]


def _words(path: PathLike[str], records: int | None) -> str:
    what = "the header is damaged, or that of another store" if records is None else f"{records:,} damaged records"
    return f"{path}: {what}"
