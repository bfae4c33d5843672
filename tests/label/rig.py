"""What the tests of scorers share. Imported as `label.rig` (`tests/` is on the path)."""

from __future__ import annotations

from typing import Any

from reference import sources
from umr.label.scorers.trees import Tree, grow


def trees_of(lm: Any, seed: int = 0) -> list[Tree]:
    """The causal sources, as trees of token ids."""
    made = []
    for pairs in sources.causal(seed):
        heads = [lm.tokenizer(source).input_ids for source, _ in pairs]
        made.append(grow(heads, [lm.tokenizer(t, add_special_tokens=False).input_ids for _, t in pairs], list(range(len(pairs)))))
    return made
