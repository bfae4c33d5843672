"""The first stage: encode passages and queries, and find the top-k candidate passages of every query (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from umr.config import MineConfig
from umr.data.candidates import Candidates, candidates_of
from umr.data.workspace import Workspace, clear_from, round_for
from umr.errors import InputError
from umr.layout import RoundLayout
from umr.manifest import checksums, read_manifest, require_same, write_manifest
from umr.mine.options import options
from umr.progress import Reporter, Silent


def mine(
    workspace: Workspace,
    config: MineConfig,
    number: int | None = None,
    reporter: Reporter | None = None,
    force: bool = False,
) -> Candidates:
    """Mine the candidates of a round; a finished round is read, a killed one continues.

    Arguments:
        workspace: passages and queries.
        config: k, precision, sizes.
        number: the round; None for the newest unfinished one, or the next when that is trained.
        reporter: shows what is done.
        force: mine again even where the round is mined; its later artefacts are removed.

    Returns:
        the candidates, k of every query.

    Raises:
        MismatchError: the round was mined with another configuration.
        InputError: k is larger than the corpus; a model cannot be loaded.
    """
    reporter = reporter or Silent()
    place = round_for(workspace.layout, "mine", number)
    made_from: dict[str, Any] = {
        "top_k": config.top_k,
        "precision": config.precision,
        "store": config.store,
        "encoder": workspace.encoder_name(place.number),
        **options(config),
    }
    if place.mined.exists() and not force:
        found = read_manifest(place.mined, "mine")["made_from"]
        require_same(
            place.mined,
            f"round {place.number} was mined",
            found,
            dict.fromkeys(found) | made_from,
            "leave the options as they were, or redo the round with --force",
        )
        reporter.say(f"round {place.number} is mined already: {place.candidates}")
        return candidates_of(place)
    return _mine(workspace, place, config, made_from, reporter)


def _mine(workspace: Workspace, place: RoundLayout, config: MineConfig, made_from: Mapping[str, Any], reporter: Reporter) -> Candidates:
    from umr.encoder.encoder import load_encoder
    from umr.mine.gather import encoder_source, gather, other_sources, require_different, wanted_languages
    from umr.models.device import keep_precision, pick_device

    if config.top_k > len(workspace.passages):
        raise InputError(
            f"top-k is {config.top_k}, but there are only {len(workspace.passages)} passages",
            f"use --top-k {len(workspace.passages)} or less",
        )
    device = pick_device(config.device)
    # Settled here, once: whoever reads these embeddings later (training, search) must not measure anew.
    config = replace(config, precision=keep_precision(workspace.layout.mining_precision, config.precision, device, reporter))
    languages = wanted_languages(workspace, config, reporter)
    others = other_sources(workspace, config, device, reporter)
    encoder = load_encoder(workspace.encoder_of(place.number), device, reporter)
    retriever, identity = encoder_source("encoder", encoder, workspace, config, reporter)
    require_different(identity, others)
    gathered = gather(workspace, retriever, others, languages, config, reporter)
    candidates = gathered.candidates
    clear_from(place, "mine")  # only now: whatever fails before this line costs nothing that was finished
    candidates.write(place.candidates, workspace.passages)
    contents = {
        "config": {name: value for name, value in asdict(config).items() if name not in ("also_encoder", "run")},
        "files": checksums(place.candidates),
        "queries": len(candidates.rows),
        "passages": retriever.passages.rows,
        **identity,
        "sources": gathered.sources,
        "counts": gathered.counts,
    }
    write_manifest(place.mined, "mine", made_from, contents)
    return candidates
