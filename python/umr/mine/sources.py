"""Where candidates come from: encoders and TREC runs (BM25 has a file of its own)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from umr._rust import Records, fingerprint_files
from umr.config import EncoderConfig, MineConfig
from umr.data.candidates import PADDING
from umr.data.corpus import absolute
from umr.data.embeddings import Embeddings
from umr.data.trec import DEPTH, read_run
from umr.data.workspace import Workspace
from umr.encoder.centre import centred_queries, means_for, means_record, passage_vectors
from umr.encoder.encode import encode, encoder_identity, with_tokens
from umr.encoder.encoder import DualEncoder
from umr.encoder.load import load_encoder
from umr.encoder.rows import Side, token_store
from umr.errors import UsageError
from umr.mine.bm25 import Bm25
from umr.mine.lists import places_of
from umr.mine.options import run_paths
from umr.models import resolve
from umr.models.device import keep_precision, pick_device
from umr.progress import Reporter
from umr.search import find, share_search
from umr.search.lists import Bools, Floats, Ints, Lists, Rows, no_lists
from umr.search.scoring import pair_scores
from umr.work.ranks import Claims

BLOCK_PAIRS = 65536  # whose vectors are read at once


@dataclass(frozen=True)
class EncoderSource:
    """The passages of the largest inner product.

    Arguments:
        name: of the columns: lower-case letters and digits.
        about: for the manifest: `what` it is, and what decides its lists.
        queries: [Q, d] float32 vectors.
        passages: vectors of the whole corpus.
        config: how they are searched.
        reporter: shows the progress.
        full: [n] which passages have a token; None where all have. The others are never found.
    """

    name: str
    about: Mapping[str, Any]
    queries: Floats
    passages: Embeddings
    config: MineConfig
    reporter: Reporter
    full: Bools | None = None

    def share(self, depth: int, claims: Claims) -> None:
        """Do this rank's part of the search of all queries, `depth` deep."""
        share_search(self.queries, self.passages, depth, self.config, claims, self.reporter, self.full)

    def find(self, queries: Ints, depth: int, only: Bools | None = None) -> Lists:
        """The best passages.

        Arguments:
            queries: [q] query rows.
            depth: so many of them, at most; lists of a larger depth begin with those of a smaller one.
            only: [n] which passages count. (default: all)

        Returns:
            lists [q, depth]; one is shorter only where fewer passages count.
        """
        everyone = np.array_equal(queries, np.arange(len(self.queries)))  # whose vectors need not be copied
        vectors = self.queries if everyone else self.queries[queries]
        only = self.full if only is None else only if self.full is None else only & self.full
        return find(vectors, self.passages, depth, self.config, self.reporter, only)

    def scores(self, queries: Ints, rows: Rows, known: Lists) -> Floats:
        """The inner products of passages that may have been found by other sources.

        Arguments:
            queries: [q] query rows.
            rows: [q, w] rows of the corpus, or PADDING.
            known: what this source found for these queries.

        Returns:
            [q, w] float32: sums in f64, rounded once, as the search makes them; -inf where padded.
        """
        places = places_of(known.rows, rows)
        found = np.take_along_axis(known.scores, np.maximum(places, 0), axis=1)
        found[places < 0] = -np.inf
        q, j = np.nonzero((places < 0) & (rows != PADDING))
        order = np.argsort(rows[q, j], kind="stable")  # neighbours on disk are read together
        for start in range(0, len(order), BLOCK_PAIRS):
            some = order[start : start + BLOCK_PAIRS]
            unique, at = np.unique(rows[q[some], j[some]], return_inverse=True)
            vectors = self.passages.read(unique)[at]
            found[q[some], j[some]] = pair_scores(torch.from_numpy(self.queries[queries[q[some]]]), torch.from_numpy(vectors)).numpy()
        return found


@dataclass(frozen=True)
class RunSource:
    """The passages of a TREC run.

    Arguments:
        name, about: see `EncoderSource`.
        rows, scores: [Q, w] lists of all queries, padded at the end.
    """

    name: str
    about: Mapping[str, Any]
    rows: Rows
    scores: Floats

    def find(self, queries: Ints, depth: int) -> Lists:
        """See `EncoderSource`; a list is as long as the run has it."""
        found, width = no_lists(len(queries), depth), min(depth, self.rows.shape[1])
        found.rows[:, :width] = self.rows[queries, :width]
        found.scores[:, :width] = self.scores[queries, :width]
        return found


Source = EncoderSource | Bm25 | RunSource


def open_sources(workspace: Workspace, number: int, config: MineConfig, reporter: Reporter) -> tuple[EncoderSource, list[Source]]:
    """Open what `config` names; passages and queries are encoded, or read where that was done before.

    Arguments:
        workspace: passages and queries.
        number: the round, whose encoder gives the scores.
        config: names the further encoders, BM25 and the runs; its precision is settled.
        reporter: shows the work.

    Returns:
        the round's encoder, and the further sources: encoders, BM25, runs.

    Raises:
        ModelError, InputError, FormatError: one cannot be used.
        MissingExtraError: bm25s is not installed.
        UsageError: an encoder or a run is there twice.
    """
    runs = _open_runs(workspace, config, reporter)  # runs and BM25 come first: they fail at once
    lexical = [Bm25(workspace.passages, workspace.queries.texts(), reporter)] if config.bm25 else []
    loaded = load_encoders(workspace, number, config, reporter)  # all, before one of them encodes
    encoders = [
        _encode("encoder" if place == 1 else f"encoder{place}", what, encoder, workspace, config, reporter)
        for place, (what, encoder) in enumerate(loaded, start=1)
    ]
    return encoders[0], [*encoders[1:], *lexical, *runs]


def _open_runs(workspace: Workspace, config: MineConfig, reporter: Reporter) -> list[RunSource]:
    runs, paths, depth = list[RunSource](), run_paths(config), max(DEPTH, config.top_k + config.first_rank)
    _refuse_twice("--run", [(path, fingerprint_files([path])) for path in paths])
    for place, path in enumerate(paths, start=1):
        rows, scores, counts = read_run(path, workspace.queries.records, workspace.passages, reporter, depth)
        runs.append(RunSource(f"run{place}", {"what": path, **counts}, rows, scores))
    return runs


def load_encoders(workspace: Workspace, number: int, config: MineConfig, reporter: Reporter) -> list[tuple[str, DualEncoder]]:
    """The round's encoder and the further ones, each with what it is.

    Arguments:
        workspace, number, config, reporter: as in `open_sources`.

    Raises:
        ModelError: one cannot be loaded.
        UsageError: one is there twice.
    """
    models = [("the encoder of the round", workspace.encoder_of(number))]
    models += [(name, EncoderConfig(model=name)) for name in map(absolute, config.also_encoder)]
    device = pick_device(config.device)
    with reporter.bar("loading encoders", 0, ""):
        loaded = [(what, load_encoder(model, device, reporter)) for what, model in models]
    _refuse_twice("also_encoder under [mine] of a run file", [(what, encoder_identity(encoder)) for what, encoder in loaded])
    return loaded


def share_encoding(workspace: Workspace, number: int, config: MineConfig, claims: Claims, reporter: Reporter) -> list[EncoderSource]:
    """Encode what no other rank encodes, of the passages and queries that a round is mined with.

    Arguments:
        workspace, number, config, reporter: as in `open_sources`; precision may be `auto`.
        claims: of the ranks.

    Returns:
        the encoders, ready to be searched with.

    Raises:
        as `open_sources`; runs are read for that alone, so that a bad one costs no encoding.
    """
    _open_runs(workspace, config, reporter)
    with claims.alone():  # one measures, or unpacks a model, and the others find it done
        for model in (workspace.encoder_of(number).model, *config.also_encoder):
            resolve(model, reporter)
        precision = keep_precision(workspace.layout.mining_precision, config.precision, pick_device(config.device), reporter)
    config = replace(config, precision=precision)
    texts: tuple[tuple[Side, Records], ...] = (("passage", workspace.passages), ("query", workspace.queries.records))
    loaded = load_encoders(workspace, number, config, reporter)
    for _, encoder in loaded:
        for side, records in texts:
            with claims.alone():
                token_store(records, encoder.side(side), side, workspace.layout, reporter)
            encode(records, encoder, side, workspace.layout, config, reporter, claims)
    with claims.alone():  # one puts pieces together and centres them, and the others find it done
        return [_encode(f"encoder{place}", *one, workspace, config, reporter) for place, one in enumerate(loaded, start=1)]


def _refuse_twice(option: str, named: Sequence[tuple[str, Any]]) -> None:
    """A source that is there twice would be counted as two that agree."""
    for place, (name, identity) in enumerate(named):
        same = [first for first, known in named[:place] if known == identity]
        if same:
            raise UsageError(f"{name} is the same as {same[0]}", f"name each source of candidates once; leave it out of {option}")


def _encode(name: str, what: str, encoder: DualEncoder, workspace: Workspace, config: MineConfig, reporter: Reporter) -> EncoderSource:
    reporter.say(f"{name}: {encoder.query.settings.describe()} ({encoder.source})")
    layout = workspace.layout
    means = means_for(workspace.passages, workspace.queries, encoder, layout, config, reporter)
    passages = passage_vectors(workspace.passages, encoder, layout, config, reporter, means)
    queries = encode(workspace.queries.records, encoder, "query", layout, config, reporter)
    about = {
        "what": what, **encoder_identity(encoder), **means_record(means),
        "passage_embeddings": passages.folder.name, "query_embeddings": queries.folder.name,
    }  # fmt: skip
    vectors = centred_queries(queries.read(), workspace.queries.langs, means, reporter)
    full = with_tokens(workspace.passages, encoder, "passage", layout, reporter)
    return EncoderSource(name, about, vectors, passages, config, reporter, full)
