"""The plan of a labelling, on disk beside the round: which pairs are scored, their token ids, and the batches they come in.

A run that was broken off takes up the plan again. It scores the same batches, so that a score has the same bytes whether or not
the run was broken, and it repeats at most the batch that was in work. What is finished is in the score store, not here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.data.workspace import Workspace
from umr.errors import StorageError, UmrError
from umr.label.arrange import Arrangement, arrange
from umr.label.pack import Tree
from umr.label.pairs import Pairs
from umr.label.reading import Reading
from umr.label.texts import Texts, read_texts, write_texts
from umr.layout import RoundLayout
from umr.manifest import checksums, digest, read_manifest, require_whole, write_manifest
from umr.progress import Reporter
from umr.storage import beside

Ints = NDArray[np.int64]
MANIFEST = "plan.json"
ARRAYS = ("order", "trees", "batches", "sizes", "pairs")
ATTEMPTS = 3  # another process that labels the same round may remove the plan as it ends


@dataclass(frozen=True)
class Plan:
    """Pairs in batches.

    Arguments:
        folder: of its files.
        reading: how the language model reads them.
        numbers: [m] pair numbers of the round.
        texts: of the pairs.
        arrangement: of the pairs, as places in `numbers`.
        budget: tokens of a batch.
    """

    folder: Path
    reading: Reading
    numbers: Ints
    texts: Texts
    arrangement: Arrangement
    budget: int

    def __len__(self) -> int:
        return len(self.arrangement.batches) - 1

    def whole(self, places: Ints) -> int:
        """Tokens of some pairs (places in `numbers`), each by itself."""
        sources, targets = self.texts.sources.lengths, self.texts.targets.lengths
        return int(sources[self.texts.source_of[places]].sum() + targets[self.texts.target_of[places]].sum())

    def places(self, batch: int) -> Ints:
        """The pairs of a batch, as places in `numbers`, in order of its trees and branches."""
        trees, batches = self.arrangement.trees, self.arrangement.batches
        return self.arrangement.order[trees[batches[batch]] : trees[batches[batch + 1]]]

    def trees(self, batch: int) -> list[Tree]:
        """The trees of a batch; a branch has the number of its pair in the round."""
        first, last = self.arrangement.batches[batch], self.arrangement.batches[batch + 1]
        bounds = self.arrangement.trees[first : last + 1].tolist()
        return [self._tree(start, end) for start, end in pairwise(bounds)]

    def _tree(self, start: int, end: int) -> Tree:
        places = self.arrangement.order[start:end]
        sources = {n: self.texts.sources.row(n) for n in np.unique(self.texts.source_of[places]).tolist()}
        of, targets = self.texts.source_of[places].tolist(), self.texts.target_of[places].tolist()
        return self.reading.tree([sources[n] for n in of], [self.texts.targets.row(n) for n in targets], self.numbers[places].tolist())

    def remove(self) -> None:
        """Remove it from disk: all of it is scored."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Shape:
    """What decides the batches beside the pairs and their texts.

    Arguments:
        shared: whether pairs share a tree.
        packed: whether the scorer packs trees without padding.
        budget: tokens of a batch.
    """

    shared: bool
    packed: bool
    budget: int


def plan_for(
    place: RoundLayout,
    made_from: Mapping[str, Any],
    workspace: Workspace,
    pairs: Pairs,
    missing: Ints,
    reading: Reading,
    shape: Shape,
    reporter: Reporter,
) -> Plan:
    """The plan that an earlier run has begun, or a new one.

    Arguments:
        place: of the round.
        made_from: what decides the pairs and their token ids, and the options that decide the batches.
        workspace: gives the texts.
        pairs: of the round.
        missing: numbers of the pairs that have no score; a plan that lacks one of them is made again.
        reading: how the language model reads them.
        shape: of the batches of a new plan.
        reporter: shows a bar.

    Raises:
        UsageError: something that cannot be scored; the message names it.
    """
    made_from = {**made_from, "shared": shape.shared, "packed": shape.packed}
    folder = place.plan(digest(made_from))
    found = _open(folder, made_from, reading, missing)
    if found is not None:
        reporter.say(f"going on with the plan of an earlier run: {len(found.numbers):,} pairs in {len(found):,} batches")
        return found
    for _ in range(ATTEMPTS):
        try:
            with beside(folder) as temporary:
                temporary.mkdir()
                write_texts(temporary, workspace, pairs, missing, reading, reporter)
                _write(temporary, pairs, missing, shape, made_from)
        except StorageError:
            if not folder.exists():  # else another process was quicker: its plan is the same
                raise
        found = _open(folder, made_from, reading, missing)
        if found is not None:
            return found
    raise StorageError(f"{folder} vanishes as it is made", "another labelling of this round is running: wait for it to end")


def _write(folder: Path, pairs: Pairs, missing: Ints, shape: Shape, made_from: Mapping[str, Any]) -> None:
    made = arrange(read_texts(folder), pairs.rows[missing], shape.budget, shared=shape.shared, packed=shape.packed)
    for name, values in zip(ARRAYS, (made.order, made.trees, made.batches, made.sizes, missing), strict=True):
        np.save(folder / f"{name}.npy", values)
    contents = {"pairs": len(missing), "tokens": int(made.sizes.sum()), "budget": shape.budget}
    write_manifest(folder / MANIFEST, "plan", made_from, {"files": checksums(*sorted(folder.iterdir())), **contents})


def _open(folder: Path, made_from: Mapping[str, Any], reading: Reading, missing: Ints) -> Plan | None:
    """A plan that is whole, made from the same, and lacks none of the missing pairs; else None, for it costs little to make again."""
    try:
        manifest = read_manifest(folder / MANIFEST, "plan")
        require_whole(folder / MANIFEST, manifest, "it is made again")
        order, trees, batches, sizes, numbers = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ARRAYS)
        made = Arrangement(order, trees, batches, sizes)
        plan = Plan(folder, reading, numbers, read_texts(folder), made, int(manifest["budget"]))
    except (UmrError, OSError, ValueError, KeyError):
        return None
    return plan if manifest["made_from"] == dict(made_from) and np.isin(missing, numbers).all() else None
