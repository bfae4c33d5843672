"""What mining tells of its candidates, on the terminal and in the manifest."""

from __future__ import annotations

from umr.config import MineConfig
from umr.data.candidates import Candidates
from umr.mine.select import Selection
from umr.progress import Reporter

SHOWN_QUERIES = 5  # ids that a message names


def left_out(selection: Selection, config: MineConfig, reporter: Reporter) -> dict[str, int]:
    """What the rules left out, counted for the options that ask for it."""
    asked = {
        "source_excluded": ("source", config.exclude_source, "source passages of their queries"),
        "low_scores": ("low", config.min_score is not None or config.margin is not None, "passages with too low a score"),
        "repeated": ("repeated", config.collapse != "off", "passages that repeat another in the list"),
        "first_ranks": ("skipped", config.first_rank > 1, f"passages before rank {config.first_rank}"),
    }
    counts = {name: selection.counts[key] for name, (key, wanted, _) in asked.items() if wanted}
    for name, count in counts.items():
        reporter.say(f"left out {count:,} {asked[name][2]}")
    return counts


def short_lists(candidates: Candidates, reporter: Reporter) -> dict[str, int]:
    """Queries with fewer than k candidates, where there are any."""
    k, sizes = candidates.rows.shape[1], candidates.present.sum(axis=1)
    if sizes.min() == k:
        return {}
    short, empty = int((sizes < k).sum()), [name for name, size in zip(candidates.query_ids, sizes, strict=True) if not size]
    reporter.say(f"{short:,} queries have fewer than {k} candidates")
    if empty:
        named = ", ".join(empty[:SHOWN_QUERIES]) + (", ..." if len(empty) > SHOWN_QUERIES else "")
        reporter.warn(f"{len(empty):,} queries have no candidate left and will be skipped: {named}")
    return {"short_queries": short, "empty_queries": len(empty), "padded": int((~candidates.present).sum())}


def found_by(candidates: Candidates, reporter: Reporter) -> dict[str, int]:
    """Candidates that each source found, and that it alone found; nothing where there is one source."""
    if candidates.provenance is None:
        return {}
    by = candidates.provenance.ranks > 0
    alone = by & (by.sum(axis=0) == 1)
    counts: dict[str, int] = {}
    for name, found, only in zip(candidates.provenance.names, by, alone, strict=True):
        counts |= {f"found_{name}": int(found.sum()), f"only_{name}": int(only.sum())}
        reporter.say(f"{name}: found {int(found.sum()):,} of the candidates, {int(only.sum()):,} of them alone")
    return counts
