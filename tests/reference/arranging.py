"""The tokens that a group of pairs takes, pair by pair: the slow twin of `umr.label.plan.batches`."""

from __future__ import annotations

from collections.abc import Sequence


def common(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with."""
    count = 0
    while all(count < len(text) for text in texts) and len({text[count] for text in texts}) == 1:
        count += 1
    return count


def tokens(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], packed: bool) -> int:
    """Tokens of one tree: what all sources share once (of an encoder-decoder the source itself), then the rest of each pair."""
    trunk = common(sources) if packed else len(sources[0])
    return trunk + sum(len(s) - trunk for s in sources if packed) + sum(map(len, targets))
