"""The first stage: encode passages and queries, and find the top-k candidate passages of every query (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from umr.config import MineConfig
from umr.data.candidates import Candidates, candidates_of
from umr.data.workspace import Workspace, round_for
from umr.errors import InputError
from umr.layout import RoundLayout
from umr.manifest import checksums, read_manifest, require_same, write_manifest
from umr.mine.options import options
from umr.progress import Reporter, Reporting, Silent, reporter_of
from umr.progress.clock import Clock
from umr.work.aside import make_room
from umr.work.ranks import Ranks, about, working_together

if TYPE_CHECKING:
    from umr.mine.forecast import MiningForecast

SHOWN_QUERIES = 5  # ids that a message names


def mine(
    workspace: Workspace,
    config: MineConfig,
    number: int | None = None,
    reporter: Reporting = None,
    force: bool = False,
) -> Candidates:
    """Mine the candidates of a round; a finished round is read, a killed one continues.

    Arguments:
        workspace: passages and queries.
        config: k, precision, sizes.
        number: the round; None for the newest unfinished one, or the next when that is trained.
        reporter: shows what is done: "console", a reporter of your own, or None for warnings alone.
        force: mine again even where the round is mined; what was trained in it is moved aside.

    Returns:
        the candidates, k of every query.

    Raises:
        MismatchError: the round was mined with another configuration.
        InputError: k is larger than the corpus; a model cannot be loaded.
        LockedError: another process writes to the work folder.
    """
    reporter = reporter_of(reporter)
    place = round_for(workspace.layout, "mine", number)
    if place.mined.exists() and not force:
        return _mined_before(workspace, place, config, reporter)
    with workspace.writing(reporter):
        if place.mined.exists() and not force:  # another process was quicker
            return _mined_before(workspace, place, config, reporter)
        _require_enough(workspace, config)
        return _mine(workspace, place, config, reporter)


def share_mining(workspace: Workspace, config: MineConfig, number: int, ranks: Ranks, reporter: Reporter) -> None:
    """Encode what no other rank encodes, and search what no other searches; `mine` then finds vectors and lists, and selects.

    Arguments:
        workspace, config, reporter: as in `mine`.
        number: the round.
        ranks: the place of this process.

    Raises:
        MismatchError: other ranks do something else.
        as `mine`.
    """
    from umr.mine.select import rules_for
    from umr.mine.sources import share_encoding

    place = workspace.layout.round(number)
    _require_enough(workspace, config)
    with working_together(workspace.layout, ranks, _agreed(workspace, place, config), reporter) as claims:
        if not place.mined.exists():
            sources = share_encoding(workspace, number, config, claims, reporter)
            if config.index == "exact":
                depth = min(rules_for(workspace, config, Silent())[0].depth, len(workspace.passages))
                for source in sources:
                    source.share(depth, claims)


def _agreed(workspace: Workspace, place: RoundLayout, config: MineConfig) -> dict[str, Any]:
    """What ranks have to agree on: what decides the candidates, and how the work is cut into pieces."""
    from umr.models.device import pick_device

    how = {"shard_rows": config.shard_rows, "device": pick_device(config.device).type}
    return about("mine", place.number, _made_from(workspace, place, config), **workspace.fingerprints(), **how)


def _require_enough(workspace: Workspace, config: MineConfig) -> None:
    if config.top_k > len(workspace.passages):
        what = f"top-k is {config.top_k}, but there are only {len(workspace.passages)} passages"
        raise InputError(what, f"use --top-k {len(workspace.passages)} or less")


def forecast_mining(workspace: Workspace, config: MineConfig, number: int | None = None, reporter: Reporting = None) -> MiningForecast:
    """What mining a round will take; nothing but token ids is made.

    Arguments:
        workspace, config, number, reporter: see `mine`.

    Raises:
        InputError: a model cannot be loaded.
        LockedError: another process writes to the work folder.
    """
    from umr.mine.forecast import forecast
    from umr.models.device import keep_precision, pick_device

    reporter = reporter_of(reporter)
    place = round_for(workspace.layout, "mine", number)
    with workspace.writing(reporter):
        precision = keep_precision(workspace.layout.mining_precision, config.precision, pick_device(config.device), reporter)
        return forecast(workspace, place.number, replace(config, precision=precision), reporter)


def _made_from(workspace: Workspace, place: RoundLayout, config: MineConfig) -> dict[str, Any]:
    """What decides the candidates."""
    return {
        "top_k": config.top_k, "precision": config.precision, "store": config.store,
        "encoder": workspace.encoder_name(place.number), **options(config),
    }  # fmt: skip


def _mined_before(workspace: Workspace, place: RoundLayout, config: MineConfig, reporter: Reporter) -> Candidates:
    found, made_from = read_manifest(place.mined, "mine")["made_from"], _made_from(workspace, place, config)
    hint = "leave the options as they were, or redo the round with --force"
    require_same(place.mined, f"round {place.number} was mined", found, {**dict.fromkeys(found), **made_from}, hint)
    reporter.say(f"round {place.number} is mined already: {place.candidates}")
    return candidates_of(place)


def _mine(workspace: Workspace, place: RoundLayout, config: MineConfig, reporter: Reporter) -> Candidates:
    """Encode, search, select, write."""
    from umr.data.corpus_langs import corpus_languages
    from umr.mine.per_language import SOURCE, add_languages, require_room
    from umr.mine.select import rules_for, select
    from umr.mine.sources import open_sources
    from umr.models.device import keep_precision, pick_device

    clock = Clock(len(workspace.queries))
    made_from = _made_from(workspace, place, config)
    # Settled once: whoever reads these embeddings later (training, search) must not measure anew.
    precision = keep_precision(workspace.layout.mining_precision, config.precision, pick_device(config.device), reporter)
    config = replace(config, precision=precision)
    languages = corpus_languages(workspace.passages, workspace.layout, reporter) if config.per_language else None
    if languages:
        require_room(languages, config.top_k, config.per_language, reporter)
    retriever, others = open_sources(workspace, place.number, config, reporter)
    sources = {retriever.name: {"what": retriever.about["what"]}, **{source.name: source.about for source in others}}
    rules, counts = rules_for(workspace, config, reporter)
    selection = select(retriever, others, rules, reporter)
    others.clear()  # the memory of their indexes
    counts |= _left_out(selection.counts, config, reporter)
    if languages:
        counts["languages_added"] = add_languages(selection, languages, config.per_language, retriever, rules, reporter)
        sources[SOURCE] = {"what": "a search among the passages of one language"}
    candidates = selection.candidates(workspace.queries, list(sources))
    counts |= _short_lists(candidates, reporter) | _found_by(candidates, reporter)
    make_room(place, "mine", reporter)  # only now: whatever fails before this line costs nothing that was finished
    candidates.write(place.candidates, workspace.passages)
    contents = {
        "config": {name: value for name, value in asdict(config).items() if name not in ("also_encoder", "run")},
        "files": checksums(place.candidates),
        "queries": len(candidates.rows),
        "passages": retriever.passages.rows,
        **{name: value for name, value in retriever.about.items() if name != "what"},
        "sources": sources,
        "counts": counts,
    }
    write_manifest(place.mined, "mine", made_from, contents)
    clock.advance(len(workspace.queries))
    next_command = f"umr label {workspace.layout.folder} --round {place.number} --lm MODEL"
    reporter.say(f"round {place.number} mined: {clock.summary('queries')}; next: {next_command}")
    return candidates


def _left_out(found: Mapping[str, int], config: MineConfig, reporter: Reporter) -> dict[str, int]:
    """What the rules left out, counted for the options that ask for it."""
    asked = {
        "source_excluded": ("source", config.exclude_source, "source passages of their queries"),
        "low_scores": ("low", config.min_score is not None or config.margin is not None, "passages with too low a score"),
        "repeated": ("repeated", config.collapse != "off", "passages that repeat another in the list"),
        "first_ranks": ("skipped", config.first_rank > 1, f"passages before rank {config.first_rank}"),
    }
    counts = {name: found[key] for name, (key, wanted, _) in asked.items() if wanted}
    for name, count in counts.items():
        reporter.say(f"left out {count:,} {asked[name][2]}")
    return counts


def _short_lists(candidates: Candidates, reporter: Reporter) -> dict[str, int]:
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


def _found_by(candidates: Candidates, reporter: Reporter) -> dict[str, int]:
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
