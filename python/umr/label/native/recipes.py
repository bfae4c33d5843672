"""The calibration of int8, made once a language model and kept beside its scores, so that all of them are made alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umr.label.native.calibrate import calibrate
from umr.label.native.storage import load_recipe, save_recipe
from umr.label.native.weights import Recipe
from umr.label.pack import Tree
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr.models.lm import LanguageModel

PAIRS = 24  # of a calibration


def recipe_for(lm: LanguageModel, stores: Path, sample: Callable[[int], Sequence[Tree]], reporter: Reporter) -> Recipe:
    """The recipe of a language model: what an earlier run left, or a new one.

    Arguments:
        lm: in fp32.
        stores: the folder of score stores.
        sample: draws so many pairs of the work at hand, a tree each.
        reporter: shows what is done.

    Raises:
        StorageError: the file that an earlier run left is damaged.
    """
    path = stores / f"int8-{lm.fingerprint[:16]}.safetensors"
    if path.exists():
        return load_recipe(path)
    trees = sample(PAIRS)
    sequences = [[*tree.trunk, *branch.ids] for tree in trees for branch in tree.branches]
    targets = [branch.targets for tree in trees for branch in tree.branches]
    found = calibrate(lm.model, sequences, targets, reporter, first=len(lm.model.model.layers) // 2)  # early errors grow on the way
    path.parent.mkdir(parents=True, exist_ok=True)
    save_recipe(path, found)
    reporter.say(f"int8 is calibrated with {len(sequences)} pairs: {path}")
    return found
