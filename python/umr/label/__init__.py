"""The second stage: log p(query | passage, prompt) for every candidate, then labels (paper, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.config import LabelConfig
from umr.data.candidates import Candidates, candidates_of
from umr.data.labels import Labels, labels_of, normalise
from umr.data.scores import ScoreStore, open_scores
from umr.data.workspace import Workspace, clear_from, require_mined_with, round_for
from umr.errors import ScoreError
from umr.layout import RoundLayout
from umr.manifest import checksums, read_manifest, require_same, write_manifest
from umr.progress import Reporter, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from umr.label.prompt import Prompt
    from umr.label.work import Group, Scorer
    from umr.models.lm import LanguageModelFiles


@dataclass(frozen=True)
class Pairs:
    """All pairs of a round, in order of query and rank.

    Arguments:
        candidates: whose pairs.
        query_keys: [P, 2] content keys of text and language.
        passage_keys: [P, 2] content keys of title and text.
    """

    candidates: Candidates
    query_keys: NDArray[np.uint64]
    passage_keys: NDArray[np.uint64]


def label(
    workspace: Workspace,
    config: LabelConfig,
    number: int | None = None,
    reporter: Reporter | None = None,
    force: bool = False,
) -> Labels:
    """Label the candidates of a round; scores that any store already holds are never computed again.

    Arguments:
        workspace: passages and queries.
        config: language model, prompt, truncation, precision.
        number: the round; None for the newest.
        reporter: shows what is done.
        force: label again even where the round is labelled; scores are kept.

    Raises:
        MismatchError: the round was labelled with another configuration.
        ScoreError: the model gave a score that is not finite; the message names the pair.
        ModelError: the model cannot be loaded.
    """
    from umr.models.lm import find_lm

    reporter = reporter or Silent()
    place = round_for(workspace.layout, "label", number)
    require_mined_with(workspace, place)
    files = find_lm(config.lm, reporter)
    identity = _identity(config, files, _stores(workspace, config), reporter)
    made_from = {**identity, "temperature": config.temperature}
    if place.labelled.exists() and not force:
        found = read_manifest(place.labelled, "label")["made_from"]
        hint = "leave the options as they were, or redo the round with --force"
        require_same(place.labelled, f"round {place.number} was labelled", found, made_from, hint)
        reporter.say(f"round {place.number} is labelled already: {place.labels}")
        return labels_of(place)
    return _label(workspace, place, config, files, identity, reporter)


def _stores(workspace: Workspace, config: LabelConfig) -> Path:
    return Path(config.store) if config.store else workspace.layout.scores


def _identity(config: LabelConfig, files: LanguageModelFiles, stores: Path, reporter: Reporter) -> dict[str, Any]:
    """What decides a score. A measured precision is kept beside the stores, so that every round and folder finds its scores."""
    from umr.models.device import keep_precision, pick_device

    prompt = _prompt(config, files)
    plan = stores / f"precision-{files.fingerprint[:16]}.json"
    return {
        "lm": files.fingerprint, "source": prompt.source, "target": prompt.target, "reduction": config.reduction,
        "source_length": config.source_length, "precision": keep_precision(plan, config.precision, pick_device(config.device), reporter),
    }  # fmt: skip


def _label(
    workspace: Workspace, place: RoundLayout, config: LabelConfig, files: LanguageModelFiles, identity: dict[str, Any], reporter: Reporter
) -> Labels:
    store = open_scores(_stores(workspace, config), identity)
    pairs = _pairs(workspace, candidates_of(place))
    _score_missing(workspace, pairs, store, files, _prompt(config, files), config, identity, reporter)
    scores, stats = store.lookup(pairs.query_keys, pairs.passage_keys)
    labels = _labels(pairs.candidates, scores, config.temperature)
    clear_from(place, "label")  # only now: whatever fails before this line costs nothing that was finished
    labels.write(place.labels, workspace.passages)
    contents = {"files": checksums(place.labels), "lm": config.lm, "store": str(store.folder), "pairs": len(scores), **stats}
    write_manifest(place.labelled, "label", {**identity, "temperature": config.temperature}, contents)
    return labels


def _labels(candidates: Candidates, scores: NDArray[np.float32], temperature: float) -> Labels:
    matrix = scores.reshape(candidates.rows.shape)
    return Labels(candidates, matrix, normalise(matrix, temperature))


def _prompt(config: LabelConfig, files: LanguageModelFiles) -> Prompt:
    from umr.label.prompt import CAUSAL, ENCODER_DECODER, Prompt

    source, target = ENCODER_DECODER if files.encoder_decoder else CAUSAL
    return Prompt(config.template or source, config.target or target)


def _pairs(workspace: Workspace, candidates: Candidates) -> Pairs:
    k = candidates.rows.shape[1]
    keys = np.repeat(workspace.queries.keys(), k, axis=0)
    return Pairs(candidates, keys, workspace.passages.keys(candidates.rows.reshape(-1)))


def _score_missing(
    workspace: Workspace,
    pairs: Pairs,
    store: ScoreStore,
    files: LanguageModelFiles,
    prompt: Prompt,
    config: LabelConfig,
    identity: dict[str, Any],
    reporter: Reporter,
) -> None:
    from umr.label.grouping import groups_of, sample, unique_missing

    known, _ = store.lookup(pairs.query_keys, pairs.passage_keys)
    missing = unique_missing(known, pairs.query_keys, pairs.passage_keys)
    reporter.say(f"{len(known):,} pairs, {len(known) - int(np.isnan(known).sum()):,} of them scored before")
    if not len(missing):
        return
    rows = pairs.candidates.rows.reshape(-1)[missing]
    reporter.say(
        f"scoring {len(missing):,} pairs of {len(np.unique(rows)):,} passages: "
        f"each passage serves {len(missing) / len(np.unique(rows)):.1f} queries"
    )
    groups = groups_of(workspace, missing, pairs.candidates)
    scorer = _scorer(files, prompt, config, identity, sample(groups_of(workspace, missing, pairs.candidates)), reporter)
    _run(workspace, scorer, groups, len(missing), pairs, store, reporter)


def _scorer(
    files: LanguageModelFiles,
    prompt: Prompt,
    config: LabelConfig,
    identity: dict[str, Any],
    sample: list[Group],
    reporter: Reporter,
) -> Scorer:
    from umr.label.causal import CausalScorer
    from umr.label.seq2seq import EncoderDecoderScorer
    from umr.models.device import pick_device
    from umr.models.lm import load_lm

    lm = load_lm(files, identity["precision"], pick_device(config.device))
    options = (lm, prompt, config.source_length, config.reduction, config.pack_tokens, config.share)
    if files.encoder_decoder:
        return EncoderDecoderScorer(*options)
    scorer = CausalScorer(*options)
    if config.share:
        scorer.check(sample, reporter)
    return scorer


def _run(
    workspace: Workspace,
    scorer: Scorer,
    groups: Iterator[Group],
    total: int,
    pairs: Pairs,
    store: ScoreStore,
    reporter: Reporter,
) -> None:
    with reporter.bar("labelling", total, "pairs") as bar, store.appending() as log:
        for numbers, scores in scorer.score(groups):
            bad = np.flatnonzero(~np.isfinite(scores))
            if len(bad):
                raise _not_finite(workspace, pairs.candidates, numbers[int(bad[0])], float(scores[bad[0]]))
            log.append(pairs.query_keys[numbers], pairs.passage_keys[numbers], scores)
            bar.advance(len(numbers))


def _not_finite(workspace: Workspace, candidates: Candidates, pair: int, value: float) -> ScoreError:
    query, place = divmod(pair, candidates.rows.shape[1])
    passage = workspace.passages.ids(candidates.rows[query, place : place + 1])[0]
    return ScoreError(
        f"the score of query {candidates.query_ids[query]!r} and passage {passage!r} is {value}",
        "T5 models overflow in fp16: use --precision fp32 or bf16",
    )
