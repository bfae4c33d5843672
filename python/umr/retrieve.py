"""Retrieval outside the loop: any queries, with the encoder of any round; what evaluation and search stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from umr.config import Index, MineConfig
from umr.data.candidates import PADDING, Candidates
from umr.data.corpus import open_passages
from umr.data.embeddings import Embeddings
from umr.data.inputs import Inputs, input_files
from umr.data.queries import Queries, open_queries, typed_query
from umr.data.workspace import Workspace
from umr.encoder.centre import centred_queries, means_for, passage_vectors, query_vectors
from umr.encoder.encode import with_tokens
from umr.encoder.encoder import DualEncoder, load_encoder
from umr.encoder.means import Means
from umr.errors import UsageError
from umr.layout import WorkLayout
from umr.manifest import digest, read_manifest
from umr.models.device import pick_device
from umr.progress import Reporter, Reporting, reporter_of
from umr.search import find

if TYPE_CHECKING:
    from umr._rust import Records


@dataclass(frozen=True)
class Hit:
    """One found passage."""

    rank: int
    passage_id: str
    title: str
    text: str
    score: float


def encoders(workspace: Workspace) -> list[int]:
    """The rounds whose encoder is there: 0 is the one that the work began with, r the one trained in round r - 1."""
    trained = [r.number + 1 for r in workspace.layout.rounds() if r.trained.exists()]
    return [0, *trained]


def choose_round(workspace: Workspace, number: int | None) -> int:
    """The round whose encoder is used: the named one, or the newest.

    Raises:
        UsageError: that round has no encoder.
    """
    known = encoders(workspace)
    if number is not None and number not in known:
        raise UsageError(
            f"there is no encoder for round {number}",
            f"encoders: {', '.join(map(str, known))} (0 is the one the work began with)",
        )
    return known[-1] if number is None else number


def mined_config(workspace: Workspace, k: int, device: str = "auto", number: int = 0, index: Index | None = None) -> MineConfig:
    """The mining configuration of a round, with another k, so that its embeddings and its index are read and not made again.

    Arguments:
        workspace: the work folder.
        k: passages a query.
        device: auto, cpu, cuda or cuda:N.
        number: the round; where it was not mined, the last one before it that was.
        index: exact or hnsw; None for the one that the round was mined with.
    """
    mined = [r.mined for r in workspace.layout.rounds() if r.number <= number and r.mined.exists()]
    made = read_manifest(mined[-1], "mine")["config"] if mined else {}
    return MineConfig(**{**made, "top_k": k, "device": device, **({"index": index} if index else {})})


def retrieve(
    workspace: Workspace,
    queries: Queries,
    passages: Records,
    number: int,
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
        number: the round whose encoder is used.
        k: passages a query; cut to the corpus.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows the progress.
        index: exact or hnsw; None for the one that the round was mined with. What is measured should be exact.
    """
    reporter = reporter_of(reporter)
    config = mined_config(workspace, min(k, len(passages)), device, number, index)
    encoder, means, stored = _encoded(workspace, passages, number, config, reporter)
    vectors = query_vectors(queries, encoder, workspace.layout, config, reporter, means)
    full = with_tokens(passages, encoder, "passage", workspace.layout, reporter)
    rows, scores = find(vectors, stored, config.top_k, config, reporter, full)
    return Candidates(queries.ids(), queries.langs, rows, scores)


def _encoded(
    workspace: Workspace, passages: Records, number: int, config: MineConfig, reporter: Reporter
) -> tuple[DualEncoder, Means | None, Embeddings]:
    """The encoder of a round, what it is centred with, and the vectors of the passages."""
    with reporter.bar("loading the encoder", 0, ""):
        encoder = load_encoder(workspace.encoder_of(number), pick_device(config.device), reporter)
    means = means_for(workspace.passages, workspace.queries, encoder, workspace.layout, config, reporter)
    return encoder, means, passage_vectors(passages, encoder, workspace.layout, config, reporter, means)


def open_test_set(
    layout: WorkLayout, queries: Inputs, passages: Inputs, lang: str | None, reporter: Reporter
) -> tuple[Queries | None, Records | None]:
    """Open other queries or passages than the work folder's own; their indexes are kept under `evaluation/`.

    Arguments:
        layout: the work folder.
        queries, passages: files or records; empty for the work folder's own.
        lang: the language of every query, or None.
        reporter: told what was read.
    """
    found_queries = input_files(queries, "queries", layout)
    found_passages = input_files(passages, "passages", layout)
    cache = layout.folder / "evaluation" / digest({"queries": found_queries, "passages": found_passages})[:16]
    return (
        open_queries(found_queries, cache, lang, reporter) if found_queries else None,
        open_passages(found_passages, cache, reporter) if found_passages else None,
    )


def search(
    workspace: Workspace,
    question: str,
    k: int = 5,
    lang: str | None = None,
    number: int | None = None,
    device: str = "auto",
    reporter: Reporting = None,
    index: Index | None = None,
) -> list[Hit]:
    """The top passages of one typed question.

    Arguments:
        workspace: whose passages are searched.
        question: the text.
        k: passages; cut to the corpus.
        lang: language code of the question, or None.
        number: the round whose encoder is used; None for the newest.
        device: auto, cpu, cuda or cuda:N.
        reporter: shows the progress.
        index: exact or hnsw; None for the one that the round was mined with.

    Raises:
        UsageError: the question is empty, or there is no such round.
    """
    if not question.strip():
        raise UsageError("the question is empty", 'write it in quotes: umr search WORK "who wrote ...?"')
    reporter = reporter_of(reporter)
    number = choose_round(workspace, number)
    config = mined_config(workspace, min(k, len(workspace.passages)), device, number, index)
    encoder, means, stored = _encoded(workspace, workspace.passages, number, config, reporter)
    typed = typed_query(question, lang, reporter)
    vector = centred_queries(encoder.encode([question], "query", config.batch_tokens), typed.langs, means)
    full = with_tokens(workspace.passages, encoder, "passage", workspace.layout, reporter)
    rows, scores = find(vector, stored, config.top_k, config, reporter if config.index == "hnsw" else None, full)
    rows = rows[:, rows[0] != PADDING]
    found = zip(workspace.passages.ids(rows[0]), workspace.passages.texts(rows[0]), scores[0, : rows.shape[1]].tolist(), strict=True)
    return [Hit(rank, name, title, text, score) for rank, (name, (title, text), score) in enumerate(found, start=1)]
