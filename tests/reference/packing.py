"""Packing as the definition says it, token by token: the slow twin of `umr.label.scorers.pack` and `.attention`."""

from __future__ import annotations

from typing import Any


def beginnings(trees: list[Any]) -> list[tuple[int, tuple[int, ...]]]:
    """(tree, token ids up to and with the token) of every token of a row: each beginning once, in order of first use.

    A trunk is read whole, a branch without its last token.
    """
    found: list[tuple[int, tuple[int, ...]]] = []
    for number, tree in enumerate(trees):
        for text in [tree.trunk, *(tree.trunk + branch.ids[:-1] for branch in tree.branches)]:
            for end in range(1, len(text) + 1):
                if (number, tuple(text[:end])) not in found:
                    found.append((number, tuple(text[:end])))
    return found


def sees(trees: list[Any], window: int | None) -> list[list[bool]]:
    """[T][T] whether token i sees token j: j's beginning is one of i's, and fewer than `window` tokens shorter."""
    row = beginnings(trees)
    return [
        [a == b and text[: len(other)] == other and (not window or len(text) - len(other) < window) for b, other in row] for a, text in row
    ]
