"""The score store: append-only log p(query | passage), keyed by content, shared by rounds and by work folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.errors import InputError, StorageError
from umr.manifest import digest, read_manifest, require_same, write_manifest

if TYPE_CHECKING:
    from umr._rust import ScoreLog

Keys = NDArray[np.uint64]  # [m, 2]


@dataclass(frozen=True)
class ScoreStore:
    """Scores of one language model, template, truncation and precision.

    Arguments:
        folder: holds a manifest and segments; a segment is only ever appended to, by one process.
    """

    folder: Path

    def segments(self) -> list[str]:
        """The segments by name, one of each process that scored something: rounds, ranks, work folders."""
        return sorted(str(p) for p in self.folder.glob("*.scores"))

    @contextmanager
    def appending(self) -> Iterator[ScoreLog]:
        """A new segment of our own, open for appending while the context lasts."""
        log = self._new_segment()
        try:
            yield log
        finally:
            log.close()

    def _new_segment(self) -> ScoreLog:
        from umr._rust import ScoreLog

        for number in range(1_000_000):
            path = self.folder / f"segment-{number:06d}.scores"
            if path.exists():
                continue
            try:
                return ScoreLog.create(str(path))
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
    folder = base / digest(made_from)[:16]
    manifest = folder / "manifest.json"
    if manifest.exists():
        require_same(
            manifest, "the scores were made", read_manifest(manifest, "scores")["made_from"], made_from, "give another --store folder"
        )
    else:
        write_manifest(manifest, "scores", made_from, {})
    return ScoreStore(folder)


def merge_stores(
    stores: Sequence[ScoreStore], query_keys: Keys, passage_keys: Keys, rows: NDArray[np.uint32]
) -> tuple[NDArray[np.float32], list[dict[str, int]]]:
    """The scores of candidates in several stores, one for each language model.

    Where a pair stands twice in a store, the first record counts: segments by name, records in the order written; a later one with
    another score is a conflict, counted and left out. Of a segment, everything up to the first damaged or partial record counts.

    Arguments:
        stores: M stores.
        query_keys: [Q, 2] content keys; queries may share one.
        passage_keys: [n, 2] content keys; passages may share one.
        rows: [Q, k] rows of `passage_keys`; `candidates.PADDING` where a query has fewer candidates.

    Returns:
        [M, Q, k] float32 nats, NaN where a store lacks the pair, and counts of each store: `records` read, `torn` segments,
        `duplicates` (a wanted pair again, with the same score) and `conflicts` (with another score), a record once a query that
        wants it.

    Raises:
        FormatError: a file is no score segment.
        UsageError: a row names no passage, or shapes do not fit together.
    """
    from umr._rust import merge_stores as merge

    return merge([store.segments() for store in stores], query_keys, passage_keys, rows)
