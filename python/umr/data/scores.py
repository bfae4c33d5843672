"""The score store: append-only log p(query | passage), keyed by content, shared by rounds and by work folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.data.merging import merge
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
        """The segments by name; where a pair stands twice, the first record in this order counts."""
        return sorted(str(p) for p in self.folder.glob("*.scores"))

    def lookup(self, query_keys: Keys, passage_keys: Keys) -> tuple[NDArray[np.float32], dict[str, int]]:
        """The scores of pairs.

        Arguments:
            query_keys: [m, 2] content keys.
            passage_keys: [m, 2] content keys.

        Returns:
            [m] float32 nats, NaN where there is none yet, and counts of records, torn, duplicates and conflicts.
        """
        from umr._rust import merge_scores

        return merge_scores(self.segments(), query_keys, passage_keys)

    def table(self, query_keys: Keys, passage_keys: Keys, rows: NDArray[np.uint32]) -> tuple[NDArray[np.float32], dict[str, int]]:
        """The scores of candidates, from keys that are not repeated a pair.

        Arguments:
            query_keys: [Q, 2] content keys.
            passage_keys: [n, 2] content keys.
            rows: [Q, k] rows of `passage_keys`; `merging.NO_PASSAGE` where a query has fewer candidates.

        Returns:
            [Q, k] float32 nats, NaN where there is none yet, and counts as of `lookup`.
        """
        merged = merge([self.segments()], query_keys, passage_keys, rows)
        return merged.scores[0], merged.counts[0]

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
        require_same(manifest, "scores", read_manifest(manifest, "scores")["made_from"], made_from, "give another --store folder")
    else:
        write_manifest(manifest, "scores", made_from, {})
    return ScoreStore(folder)
