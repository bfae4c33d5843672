"""Rows as the definition says it, token by token: the slow twin of `umr.label.scorers.rows`."""

from __future__ import annotations

from typing import Any

Text = tuple[int, ...]


def beginnings(tree: Any) -> set[Text]:
    """The token ids up to and with each token of a row: each beginning once. A trunk is read whole, a branch without its last token."""
    texts = [tree.trunk, *(tree.trunk + branch.ids[:-1] for branch in tree.branches)]
    return {tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)}


def sees(text: Text, other: Text, window: int | None) -> bool:
    """Whether the last token of a beginning sees that of another: it continues it, and is fewer than `window` tokens longer."""
    return text[: len(other)] == other and (not window or len(text) - len(other) < window)
