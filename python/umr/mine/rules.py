"""What is left out of the candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from umr.config import MineConfig
from umr.data.workspace import Workspace
from umr.mine.duplicates import Duplicates
from umr.progress import Reporter
from umr.search.lists import Ints


@dataclass(frozen=True)
class Rules:
    """What is left out, in this order: source passages, low scores, duplicates, first ranks.

    Arguments:
        k: candidates a query.
        source_passages: [Q] row of the passage that a query was made from, -1 where none is left out.
        duplicates: tells passages that repeat another.
        min_score: least score of the retriever; -inf for none.
        margin: most that a score may lie below the best one of the query; inf for none.
        first_rank: rank, from 1, of the first candidate among what is left.
    """

    k: int
    source_passages: Ints
    duplicates: Duplicates
    min_score: float = -np.inf
    margin: float = np.inf
    first_rank: int = 1

    @property
    def depth(self) -> int:
        """Passages of a source that are looked at first; more where these do not fill the lists."""
        need = self.k + self.first_rank - 1 + int((self.source_passages >= 0).any())
        return need if self.duplicates.kind == "off" else need + need // 4


def rules_for(workspace: Workspace, config: MineConfig, reporter: Reporter) -> tuple[Rules, dict[str, int]]:
    """The rules that a configuration asks for.

    Arguments:
        workspace: passages and queries.
        config: the options.
        reporter: told of queries without a source passage.

    Returns:
        the rules, and where source passages are left out the counts of `source_passages`.
    """
    none: tuple[Ints, dict[str, int]] = (np.full(len(workspace.queries), -1, dtype=np.int64), {})
    rows, counts = source_passages(workspace, reporter) if config.exclude_source else none
    min_score = -np.inf if config.min_score is None else config.min_score
    margin = np.inf if config.margin is None else config.margin
    return Rules(config.top_k, rows, Duplicates(workspace.passages, config.collapse), min_score, margin, config.first_rank), counts


def source_passages(workspace: Workspace, reporter: Reporter) -> tuple[Ints, dict[str, int]]:
    """The passage that each query was made from, as its record names it.

    Arguments:
        workspace: passages and queries.
        reporter: told how many queries name none, or one outside the corpus.

    Returns:
        [Q] passage rows, -1 where there is none, and counts: queries `source_without` the field, and of a `source_unknown`.
    """
    queries = workspace.queries.records
    named = queries.sources(np.arange(len(queries), dtype=np.uint32))
    rows = workspace.passages.find(named)  # an id is never empty, so that no name is no row
    without = sum(not name for name in named)
    counts = {"source_without": without, "source_unknown": int((rows < 0).sum()) - without}
    if any(counts.values()):
        reporter.say(
            f"no source passage is left out for {without:,} queries without the field 'source' "
            f"and {counts['source_unknown']:,} that name a passage outside the corpus"
        )
    return rows, counts
