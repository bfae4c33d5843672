"""A round's candidates, from the configuration: sources are opened, merged, sifted and spread over languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from umr.config import EncoderConfig, MineConfig
from umr.data.candidates import Candidates
from umr.data.corpus import expand
from umr.data.corpus_langs import Languages, corpus_languages
from umr.data.trec import DEPTH, read_run
from umr.data.workspace import Workspace
from umr.errors import UsageError
from umr.manifest import read_manifest
from umr.mine.duplicates import Duplicates
from umr.mine.lists import Ints
from umr.mine.options import also_encoders, run_paths
from umr.mine.per_language import NAME, add_languages, require_room
from umr.mine.select import Chosen, Rules, choose, ordered
from umr.mine.sources import EncoderSource, RunSource, Source
from umr.progress import Reporter, Silent

if TYPE_CHECKING:
    from umr.encoder.encoder import DualEncoder

SHOWN = 5  # ids that a message names


@dataclass
class Gathered:
    """Candidates and what is told of them.

    Arguments:
        candidates: of every query.
        sources: name of each source -> `what` it is, and of a further encoder what decides its vectors.
        counts: of what was left out, added and missing; only what the options ask for.
    """

    candidates: Candidates
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def gather(
    workspace: Workspace,
    retriever: EncoderSource,
    others: list[tuple[Source, dict[str, Any]]],
    languages: Languages | None,
    config: MineConfig,
    reporter: Reporter,
) -> Gathered:
    """The candidates of every query.

    Arguments:
        workspace: passages and queries.
        retriever: the encoder of the round.
        others: further sources, and what manifests say of each; closed when they have been searched.
        languages: of the passages, where `per_language` asks for them.
        config: the rules.
        reporter: told every count.
    """
    own, counts = _own(workspace, config, reporter)
    rules = Rules(
        config.top_k, own, Duplicates(workspace.passages, config.collapse), _or(config.min_score, -np.inf), _or(config.margin, np.inf),
        config.first_rank,
    )  # fmt: skip
    sources = {retriever.name: {"what": "the encoder of the round"}, **{source.name: about for source, about in others}}
    chosen = choose([retriever, *(source for source, _ in others)], retriever, rules, reporter)
    for source, _ in others:
        source.close()
    counts |= _left_out(chosen, config, reporter)
    if languages:
        counts["languages_added"] = add_languages(chosen, languages, config.per_language, retriever, rules, reporter)
        sources[NAME] = {"what": "a search among the passages of one language"}
    chosen.searched.clear()
    rows, scores, provenance = ordered(chosen, list(sources))
    candidates = Candidates(workspace.queries.ids(), list(workspace.queries.langs), rows, scores, provenance)
    counts |= _short(candidates, reporter) | _found(candidates, reporter)
    return Gathered(candidates, sources, counts)


def wanted_languages(workspace: Workspace, config: MineConfig, reporter: Reporter) -> Languages | None:
    """The languages of the passages, where lists are to hold some of each.

    Raises:
        InputError: `top_k` candidates cannot hold so many of every language.
    """
    if not config.per_language:
        return None
    languages = corpus_languages(workspace.passages, workspace.layout, reporter)
    require_room(languages, config.top_k, config.per_language, reporter)
    return languages


def other_sources(workspace: Workspace, config: MineConfig, device: Any, reporter: Reporter) -> list[tuple[Source, dict[str, Any]]]:
    """Open the further sources: encoders, then BM25, then runs; each with what manifests say of it.

    Arguments:
        workspace: passages and queries.
        config: names them.
        device: of the encoders.
        reporter: shows the work.

    Raises:
        ModelError, InputError, FormatError: one cannot be used.
        MissingExtraError: bm25s is not installed.
    """
    found: list[tuple[Source, dict[str, Any]]] = []
    for number, path in enumerate(run_paths(config), start=1):  # the quickest to fail come first
        run = read_run(path, workspace.queries.records, workspace.passages, reporter, max(DEPTH, config.top_k + config.first_rank))
        found.append((RunSource(f"run{number}", run), {"what": path, **run.counts}))
    if config.bm25:
        from umr.mine.bm25 import Bm25

        found.insert(0, (Bm25(workspace.passages, workspace.queries.texts(), reporter), {"what": "BM25"}))
    return [*_further_encoders(workspace, config, device, reporter), *found]


def _further_encoders(workspace: Workspace, config: MineConfig, device: Any, reporter: Reporter) -> list[tuple[Source, dict[str, Any]]]:
    from umr.encoder.encoder import load_encoder

    found: list[tuple[Source, dict[str, Any]]] = []
    for number, name in enumerate(also_encoders(config), start=2):
        encoder = load_encoder(EncoderConfig(model=name), device, reporter)
        source, record = encoder_source(f"encoder{number}", encoder, workspace, config, reporter)
        found.append((source, {"what": name, **record}))
    return found


def require_different(record: Mapping[str, Any], others: list[tuple[Source, dict[str, Any]]]) -> None:
    """Refuse an encoder that is there twice: its candidates would be counted as found by two.

    Arguments:
        record: of the round's encoder, from `encoder_source`.
        others: the further sources.

    Raises:
        UsageError: names it.
    """
    seen = [("the encoder of the round", dict(record))]
    for _, about in others:
        name, own = about["what"], {key: value for key, value in about.items() if key != "what"}
        same = [first for first, known in seen if known == own and "settings" in own]
        if same:
            raise UsageError(f"{name} is the same encoder as {same[0]}", "name each encoder once; leave it out of --also-encoder")
        seen.append((name, own))


def encoder_source(
    name: str, encoder: DualEncoder, workspace: Workspace, config: MineConfig, reporter: Reporter
) -> tuple[EncoderSource, dict[str, Any]]:
    """An encoder as a source, and what manifests say of its vectors.

    Arguments:
        name: of the source.
        encoder: of both sides.
        workspace: passages and queries, which are encoded, or read where that was done before.
        config: how; its precision is settled.
        reporter: shows the work.
    """
    from umr.encoder.encode import encode, encoder_identity
    from umr.mine.vectors import means_for, means_record, passage_vectors, query_vectors

    reporter.say(f"{name}: {encoder.query.settings.describe()} ({encoder.source})")
    layout = workspace.layout
    means = means_for(workspace.passages, workspace.queries, encoder, layout, config, reporter)
    passages = passage_vectors(workspace.passages, encoder, layout, config, reporter, means)
    queries = query_vectors(workspace.queries, encoder, layout, config, reporter, means)
    stored = encode(workspace.queries.records, encoder, "query", layout, config, Silent())  # is there already
    record = {
        **encoder_identity(encoder), **means_record(means),
        "passage_embeddings": passages.folder.name, "query_embeddings": stored.folder.name,
    }  # fmt: skip
    return EncoderSource(name, queries, passages, config, reporter), record


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _own(workspace: Workspace, config: MineConfig, reporter: Reporter) -> tuple[Ints, dict[str, int]]:
    if not config.exclude_source:
        return np.full(len(workspace.queries), -1, dtype=np.int64), {}
    from umr.mine.origins import read_origins

    paths = expand(read_manifest(workspace.layout.manifest, "work")["queries"], "queries")
    own, counts = read_origins(paths, workspace.queries.records, workspace.passages, reporter)
    return own, {f"source_{name}": count for name, count in counts.items()}


def _left_out(chosen: Chosen, config: MineConfig, reporter: Reporter) -> dict[str, int]:
    asked = {
        "source_excluded": ("own", config.exclude_source, "source passages of their queries"),
        "low_scores": ("low", config.min_score is not None or config.margin is not None, "passages with too low a score"),
        "repeated": ("repeated", config.collapse != "off", "passages that repeat another in the list"),
        "first_ranks": ("passed", config.first_rank > 1, f"passages before rank {config.first_rank}"),
    }
    counts = {name: chosen.counts[key] for name, (key, wanted, _) in asked.items() if wanted}
    for name, count in counts.items():
        reporter.say(f"left out {count:,} {asked[name][2]}")
    return counts


def _short(candidates: Candidates, reporter: Reporter) -> dict[str, int]:
    sizes = candidates.present.sum(axis=1)
    if sizes.min() == candidates.rows.shape[1]:
        return {}
    empty = [name for name, size in zip(candidates.query_ids, sizes, strict=True) if not size]
    reporter.say(f"{int((sizes < candidates.rows.shape[1]).sum()):,} queries have fewer than {candidates.rows.shape[1]} candidates")
    if empty:
        named = ", ".join(empty[:SHOWN]) + (", ..." if len(empty) > SHOWN else "")
        reporter.warn(f"{len(empty):,} queries have no candidate left and will be skipped: {named}")
    return {
        "short_queries": int((sizes < candidates.rows.shape[1]).sum()),
        "empty_queries": len(empty),
        "padded": int((~candidates.present).sum()),
    }


def _found(candidates: Candidates, reporter: Reporter) -> dict[str, int]:
    """Candidates that each source found, and that it alone found."""
    if candidates.provenance is None:
        return {}
    by = candidates.provenance.ranks > 0
    alone = by & (by.sum(axis=0) == 1)
    counts: dict[str, int] = {}
    for name, found, only in zip(candidates.provenance.names, by, alone, strict=True):
        counts |= {f"found_{name}": int(found.sum()), f"only_{name}": int(only.sum())}
        reporter.say(f"{name}: found {int(found.sum()):,} of the candidates, {int(only.sum()):,} of them alone")
    return counts
