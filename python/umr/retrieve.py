"""Retrieval outside the loop: any queries, with any encoder of the work folder; what evaluation and search stand on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from umr._rust import Records
from umr.config import Index, MineConfig
from umr.data.candidates import PADDING, Candidates
from umr.data.embeddings import Embeddings
from umr.data.queries import Queries, typed_query
from umr.data.workspace import Workspace
from umr.encoder.centre import centred_queries, means_for, passage_vectors, query_vectors
from umr.encoder.encode import with_tokens
from umr.encoder.encoder import DualEncoder
from umr.encoder.load import load_encoder
from umr.encoder.means import Means
from umr.errors import UsageError
from umr.manifest import read_manifest
from umr.models.device import pick_device
from umr.progress import Reporter, Reporting, reporter_of
from umr.run_file import from_record
from umr.search import find

Which = int | Literal["first"]
"""An encoder: the round that trained it, or `first`, the one that the work began with."""


@dataclass(frozen=True)
class Hit:
    """One found passage."""

    rank: int
    passage_id: str
    title: str
    text: str
    score: float


def encoders(workspace: Workspace) -> list[Which]:
    """The encoders that are there: `first`, which the work began with, then the rounds that trained one."""
    return ["first", *(place.number for place in workspace.layout.rounds() if place.trained.exists())]


def choose_encoder(workspace: Workspace, which: Which | None) -> Which:
    """The encoder that is used: the named one, or the newest.

    Raises:
        UsageError: there is none of this name.
    """
    known = encoders(workspace)
    if which is not None and which not in known:
        raise UsageError(
            f"there is no encoder of round {which}",
            f"encoders: {', '.join(map(str, known))} (first is the one that the work began with, R the one trained in round R)",
        )
    return known[-1] if which is None else which


def name_of(which: Which) -> str:
    """An encoder in words."""
    return "the first encoder" if which == "first" else f"the encoder trained in round {which}"


def _mines(which: Which) -> int:
    """The round that an encoder mines."""
    return 0 if which == "first" else which + 1


def mined_config(workspace: Workspace, k: int, device: str = "auto", number: int = 0, index: Index | None = None) -> MineConfig:
    """The mining configuration of a round, with another k, so that its embeddings and its index are read and not made again.

    Arguments:
        workspace: the work folder.
        k: passages a query.
        device: auto, cpu, cuda or cuda:N.
        number: the round that was mined; where it was not, the last one before it that was.
        index: exact or hnsw; None for the one that the round was mined with.
    """
    mined = [r.mined for r in workspace.layout.rounds() if r.number <= number and r.mined.exists()]
    made = from_record(MineConfig, read_manifest(mined[-1], "mine")["config"], mined[-1]) if mined else MineConfig()
    return replace(made, top_k=k, device=device, index=index or made.index)


def retrieve(
    workspace: Workspace,
    queries: Queries,
    passages: Records,
    which: Which,
    k: int,
    device: str = "auto",
    reporter: Reporting = None,
    index: Index | None = "exact",
) -> Candidates:
    """The top passages of queries.

    Arguments:
        workspace: whose encoders and stores are used.
        queries: any queries.
        passages: any passages.
        which: the encoder: `first`, or the round that trained it.
        k: passages a query; cut to the corpus.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows the progress.
        index: exact or hnsw; None for the one that the round was mined with. What is measured should be exact.
    """
    reporter = reporter_of(reporter)
    config = mined_config(workspace, min(k, len(passages)), device, _mines(which), index)
    encoder, means, stored = _encoded(workspace, passages, which, config, reporter)
    vectors = query_vectors(queries, encoder, workspace.layout, config, reporter, means)
    full = with_tokens(passages, encoder, "passage", workspace.layout, reporter)
    rows, scores = find(vectors, stored, config.top_k, config, reporter, full)
    return Candidates(queries.ids(), queries.langs, rows, scores)


def _encoded(
    workspace: Workspace, passages: Records, which: Which, config: MineConfig, reporter: Reporter
) -> tuple[DualEncoder, Means | None, Embeddings]:
    """An encoder, what it is centred with, and the vectors of the passages."""
    with reporter.bar("loading the encoder", 0, ""):
        encoder = load_encoder(workspace.encoder_of(_mines(which)), pick_device(config.device), reporter)
    means = means_for(workspace.passages, workspace.queries, encoder, workspace.layout, config, reporter)
    return encoder, means, passage_vectors(passages, encoder, workspace.layout, config, reporter, means)


def search(
    workspace: Workspace,
    query: str,
    k: int = 5,
    lang: str | None = None,
    which: Which | None = None,
    device: str = "auto",
    reporter: Reporting = None,
    index: Index | None = None,
) -> list[Hit]:
    """The top passages of one typed query.

    Arguments:
        workspace: whose passages are searched.
        query: the text.
        k: passages; cut to the corpus.
        lang: language code of the query, or None.
        which: the encoder: `first`, or the round that trained it; None for the newest.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows the progress.
        index: exact or hnsw; None for the one that the round was mined with.

    Raises:
        UsageError: the query is empty, or there is no such encoder.
    """
    if not query.strip():
        raise UsageError("the query is empty", 'write it in quotes: umr search WORK "who wrote ...?"')
    reporter = reporter_of(reporter)
    which = choose_encoder(workspace, which)
    config = mined_config(workspace, min(k, len(workspace.passages)), device, _mines(which), index)
    encoder, means, stored = _encoded(workspace, workspace.passages, which, config, reporter)
    typed = typed_query(query, lang, reporter)
    vector = centred_queries(encoder.encode([query], "query", config.batch_tokens), typed.langs, means)
    full = with_tokens(workspace.passages, encoder, "passage", workspace.layout, reporter)
    rows, scores = find(vector, stored, config.top_k, config, reporter if config.index == "hnsw" else None, full)
    rows = rows[:, rows[0] != PADDING]
    found = zip(workspace.passages.ids(rows[0]), workspace.passages.texts(rows[0]), scores[0, : rows.shape[1]].tolist(), strict=True)
    return [Hit(rank, name, title, text, score) for rank, (name, (title, text), score) in enumerate(found, start=1)]
