"""The plan of a labelling, on disk beside the round: which pairs are scored, their token ids, and the batches they come in.

A run that was broken off takes up the plan again. It scores the same batches, so that a score has the same bytes whether or not
the run was broken, and it repeats at most the batch that was in work. What is finished is in the score store, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.data.scores import ScoreStore
from umr.data.workspace import Workspace
from umr.errors import StorageError, UmrError
from umr.label.plan.batches import Batches, arrange
from umr.label.plan.pairs import Pairs
from umr.label.prompts.prompt import Prompt
from umr.label.prompts.texts import write_texts
from umr.label.prompts.token_ids import TokenIds, read_token_ids
from umr.label.scorers.trees import Tree
from umr.layout import RoundLayout
from umr.manifest import checksums, digest, read_manifest, require_whole, write_manifest
from umr.progress import Reporter
from umr.storage import beside

Ints = NDArray[np.int64]
MANIFEST, ARRAYS = "plan.json", "plan.npz"
ATTEMPTS = 3  # another process that labels the same round may remove the plan as it ends


@dataclass(frozen=True)
class Plan:
    """Pairs in batches.

    Arguments:
        folder: of its files.
        prompt: how the language model reads them.
        numbers: [m] pair numbers of the round.
        source_of, target_of: [m] the texts of each pair.
        sources, targets: token ids.
        batches: of the pairs, as places in `numbers`.
        budget: tokens of a batch.
    """

    folder: Path
    prompt: Prompt
    numbers: Ints
    source_of: Ints
    target_of: Ints
    sources: TokenIds
    targets: TokenIds
    batches: Batches
    budget: int

    def __len__(self) -> int:
        """Batches."""
        return len(self.batches.batches) - 1

    def places(self, batch: int) -> Ints:
        """The pairs of a batch, as places in `numbers`, in order of its trees and branches."""
        first, last = self.batches.trees[self.batches.batches[batch : batch + 2]]
        return self.batches.order[first:last]

    def tokens(self, batch: int) -> int:
        """Tokens of a batch, without padding."""
        first, last = self.batches.batches[batch : batch + 2]
        return int(self.batches.sizes[first:last].sum())

    def trees(self, batch: int) -> list[Tree]:
        """The trees of a batch; a branch has the number of its pair in the round."""
        first, last = self.batches.batches[batch : batch + 2]
        return [self._tree(start, end) for start, end in pairwise(self.batches.trees[first : last + 1].tolist())]

    def _tree(self, start: int, end: int) -> Tree:
        places = self.batches.order[start:end]
        source_of, target_of = self.source_of[places].tolist(), self.target_of[places].tolist()
        sources: dict[int, list[int]] = {n: self.sources[n].tolist() for n in set(source_of)}
        targets: list[list[int]] = [self.targets[n].tolist() for n in target_of]
        return self.prompt.tree([sources[n] for n in source_of], targets, self.numbers[places].tolist())

    def unfinished_batches(self, table: NDArray[np.float32], pairs: Pairs) -> list[int]:
        """The batches with a pair that has no score in a table [Q, k]."""
        missing = np.isnan(table[:, : pairs.kept].reshape(-1)[self.numbers])
        return [batch for batch in range(len(self)) if missing[self.places(batch)].any()]


def plan_for(
    place: RoundLayout,
    made_from: Mapping[str, Any],
    store: ScoreStore,
    workspace: Workspace,
    pairs: Pairs,
    missing: Ints,
    prompt: Prompt,
    share: bool,
    budget: int,
    reporter: Reporter,
) -> Plan:
    """The plan that an earlier run has begun, or a new one.

    Arguments:
        place: of the round.
        made_from: what decides the pairs and their token ids, and the options that decide the batches.
        store: that the scores go to, by whose growth `umr status` tells how far the work got.
        workspace: gives the texts.
        pairs: of the round.
        missing: numbers of the pairs that have no score; a plan that lacks one of them is made again.
        prompt: how the language model reads them.
        share: whether pairs share a tree.
        budget: tokens of a batch of a new plan.
        reporter: shows a bar.

    Raises:
        UsageError: something that cannot be scored; the message names it.
    """
    made_from = {**made_from, "share": share}
    folder = place.plan(digest(made_from))
    found = _open(folder, made_from, prompt, missing)
    if found is not None:
        reporter.say(f"going on with the plan of an earlier run: {len(found.numbers):,} pairs in {len(found):,} batches")
        return found
    for _ in range(ATTEMPTS):
        try:
            with beside(folder) as temporary:
                temporary.mkdir()
                _write(temporary, made_from, store, workspace, pairs, missing, prompt, budget, reporter)
        except StorageError:
            if not folder.exists():  # else another process was quicker: its plan is the same
                raise
        found = _open(folder, made_from, prompt, missing)
        if found is not None:
            return found
    raise StorageError(f"{folder} vanishes as it is made", "another labelling of this round is running: wait for it to end")


def _write(
    folder: Path,
    made_from: Mapping[str, Any],
    store: ScoreStore,
    workspace: Workspace,
    pairs: Pairs,
    missing: Ints,
    prompt: Prompt,
    budget: int,
    reporter: Reporter,
) -> None:
    rows = pairs.rows[missing].astype(np.int64)
    source_of, target_of = write_texts(folder, workspace, pairs.candidates, pairs.queries(missing), rows, prompt, reporter)
    sources, targets = (read_token_ids(folder, name) for name in ("sources", "targets"))
    batches = arrange(
        sources, targets, source_of, target_of, rows, budget, share=made_from["share"], whole_sources=prompt.encoder_decoder
    )  # fmt: skip
    np.savez(folder / ARRAYS, numbers=missing, source_of=source_of, target_of=target_of, **batches._asdict())
    contents: dict[str, Any] = {"pairs": len(missing), "tokens": int(batches.sizes.sum()), "budget": budget}
    contents |= {"store": str(store.folder.absolute()), "records_before": store.records}
    write_manifest(folder / MANIFEST, "plan", made_from, {"files": checksums(*sorted(folder.iterdir())), **contents})


def _open(folder: Path, made_from: Mapping[str, Any], prompt: Prompt, missing: Ints) -> Plan | None:
    """A plan that is whole, made from the same, and lacks none of the missing pairs; else None, for it costs little to make again."""
    try:
        manifest = read_manifest(folder / MANIFEST, "plan")
        require_whole(folder / MANIFEST, manifest, "it is made again")
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            numbers, source_of, target_of = (arrays[name] for name in ("numbers", "source_of", "target_of"))
            batches = Batches(*(arrays[name] for name in Batches._fields))
        sources, targets = (read_token_ids(folder, name) for name in ("sources", "targets"))
        plan = Plan(folder, prompt, numbers, source_of, target_of, sources, targets, batches, int(manifest["budget"]))
    except (UmrError, OSError, ValueError, KeyError):
        return None
    return plan if manifest["made_from"] == dict(made_from) and np.isin(missing, numbers).all() else None
