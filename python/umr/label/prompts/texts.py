"""The token ids of all pairs that are to be scored: each source and each target once.

A source is cut by its own length and that of the pair's target, never by what else is in a batch. What cannot be scored is
found here, before any work, and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umr.data.candidates import PADDING, Candidates
from umr.data.workspace import Workspace
from umr.errors import UsageError
from umr.label.prompts.prompt import Prompt
from umr.label.prompts.token_ids import read_token_ids, write_token_ids
from umr.label.scorers.trees import Tree
from umr.progress import Reporter

CHUNK = 8192  # sources that are read and tokenised at once
SAMPLED_QUERIES, SAMPLED_PASSAGES, SHARED = 256, 2, 2  # a sample: of so many queries, so many passages with so many queries each
Ints = NDArray[np.int64]


def write_texts(
    folder: Path, workspace: Workspace, candidates: Candidates, queries: Ints, rows: Ints, prompt: Prompt, reporter: Reporter
) -> tuple[Ints, Ints]:
    """Tokenise pairs into a folder, as `sources` and `targets`.

    Arguments:
        folder: takes the files.
        workspace: gives the texts.
        candidates: of the round.
        queries, rows: [m] query and passage of each pair.
        prompt: how the model reads them.
        reporter: shows a bar.

    Returns:
        the source [m] and the target [m] of every pair.

    Raises:
        UsageError: a query, a passage or a prompt that the model cannot take; the message names it.
    """
    asking, target_of = np.unique(queries, return_inverse=True)
    query_texts, names = workspace.queries.texts(), candidates.query_ids
    write_token_ids(folder, "targets", (prompt.target_ids(names[q], query_texts[q]) for q in asking.tolist()))
    room = np.array([prompt.room(int(length)) for length in read_token_ids(folder, "targets").lengths])
    codes, lang_of = np.unique(np.array(candidates.langs, dtype=np.str_), return_inverse=True)
    sources, first, source_of = np.unique(
        np.stack([rows, lang_of[queries], room[target_of]], axis=1), axis=0, return_index=True, return_inverse=True
    )
    with reporter.bar("reading passages", len(sources), "prompts") as bar:

        def tokenised() -> Iterator[list[int]]:
            for start in range(0, len(sources), CHUNK):
                some = sources[start : start + CHUNK]
                texts, langs = workspace.passages.texts(some[:, 0].astype(np.uint32)), codes[some[:, 1]].tolist()
                try:
                    yield from prompt.sources(texts, langs, some[:, 2].tolist())
                except UsageError:
                    for n, passage in enumerate(texts):  # which one it is
                        _require_source(prompt, passage, langs[n], some[n], names[queries[first[start + n]]], workspace)
                    raise
                bar.advance(len(some))

        write_token_ids(folder, "sources", tokenised())
    return source_of.reshape(-1).astype(np.int64), target_of.reshape(-1).astype(np.int64)


def _require_source(prompt: Prompt, passage: tuple[str, str], lang: str, source: Ints, query: str, workspace: Workspace) -> None:
    """Refuse a source [row, language, limit] whose prompt alone is too long, naming its query and passage."""
    try:
        prompt.source_ids(*passage, lang, int(source[2]))
    except UsageError as error:
        name = workspace.passages.ids(source[:1].astype(np.uint32))[0]
        raise UsageError(f"query {query!r} and passage {name!r}: {error.message}", error.hint) from error


def sample_trees(workspace: Workspace, candidates: Candidates, prompt: Prompt) -> list[Tree]:
    """A few pairs to try a model with: long passages with several queries, which a window or a mask could spoil.

    Arguments:
        workspace: gives the texts.
        candidates: of the round.
        prompt: how the model reads them.

    Raises:
        UsageError: a query or a prompt that the model cannot take.
    """
    asking = np.flatnonzero(candidates.present.any(axis=1))[:SAMPLED_QUERIES]
    rows = candidates.rows[asking]
    passages, counts = np.unique(rows[rows != PADDING], return_counts=True)
    texts, query_texts, made = workspace.passages.texts(passages), workspace.queries.texts(), []
    best = sorted(range(len(passages)), key=lambda n: (min(counts[n], SHARED), len(texts[n][1])), reverse=True)
    for n in best[:SAMPLED_PASSAGES]:
        queries = asking[(rows == passages[n]).any(axis=1)][:SHARED].tolist()
        targets = [prompt.target_ids(candidates.query_ids[q], query_texts[q]) for q in queries]
        langs = [candidates.langs[q] for q in queries]
        sources = prompt.sources([texts[n]] * len(queries), langs, [prompt.room(len(target)) for target in targets])
        pairs = [(sources, targets)] if not prompt.encoder_decoder else [([s], [t]) for s, t in zip(sources, targets, strict=True)]
        made += [prompt.tree(s, t, [0] * len(t)) for s, t in pairs]
    return made
