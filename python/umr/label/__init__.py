"""The second stage: log p(query | passage, prompt) for every candidate, then labels (paper, section 3.2)."""

from __future__ import annotations

import gc
import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from umr.config import LabelConfig
from umr.data.candidates import Candidates, candidates_of
from umr.data.labels import Labels, labels_of, saturation
from umr.data.scores import open_scores
from umr.data.workspace import Workspace, require_mined_with, round_for
from umr.errors import UsageError
from umr.label.combine import make_labels
from umr.label.plan.pairs import Pairs, pairs_of
from umr.layout import RoundLayout
from umr.manifest import checksums, read_manifest, require_same, write_manifest
from umr.progress import Reporter, Reporting, reporter_of
from umr.progress.clock import Clock, duration
from umr.work.aside import make_room
from umr.work.ranks import Claims, Ranks, about, alone, working_together

if TYPE_CHECKING:
    from umr.label.plan.forecast import Forecast
    from umr.label.prompts.prompt import Prompt
    from umr.models.lm import LanguageModel

    Model = tuple[LanguageModel, Prompt, dict[str, Any]]  # with the identity of its scores

KEEP = "leave the options as they were, or label the round again with --force: scores are kept, what was trained is moved aside"
DECIDE = ("temperature", "fuse", "correct", "scale", "screen")  # options that decide labels, beside the models' own
OPTION_OF = {"source": "template"}  # what decides a score -> the option that sets it


def label(
    workspace: Workspace,
    config: LabelConfig,
    number: int | None = None,
    reporter: Reporting = None,
    force: bool = False,
) -> Labels:
    """Label the candidates of a round; scores that any store already holds are never computed again.

    Arguments:
        workspace: passages and queries.
        config: language models, prompt, truncation, precision, and how scores become labels.
        number: the round; None for the newest.
        reporter: shows what is done: "console", a reporter of your own, or None for warnings alone.
        force: label again even where the round is labelled; scores are kept, and what was trained in it is moved aside.

    Raises:
        MismatchError: the round was labelled with another configuration.
        ScoreError: the model gave a score that is not finite; the message names the pair.
        UsageError: a query or a prompt that the model cannot take; the message names it.
        ModelError: a model cannot be loaded.
        LockedError: another process writes to the work folder.
    """
    reporter, clock = reporter_of(reporter), Clock(0)
    place = round_for(workspace.layout, "label", number)
    if place.labelled.exists() and not force:
        return _labelled_before(workspace, place, config, reporter)
    with workspace.writing(reporter):
        if place.labelled.exists() and not force:  # another process was quicker
            return _labelled_before(workspace, place, config, reporter)
        candidates, models = _begin(workspace, place, config, reporter)
        pairs = pairs_of(workspace, candidates, config.screen)
        _score(workspace, place, pairs, config, models, reporter)
        labels = _label(workspace, place, pairs, config, models, reporter)
    next_command = f"umr train {workspace.layout.folder} --round {place.number}"
    reporter.say(f"round {place.number} labelled in {duration(clock.elapsed)}: {labels}; next: {next_command}")
    return labels


def share_labelling(workspace: Workspace, config: LabelConfig, number: int, ranks: Ranks, reporter: Reporter) -> None:
    """Score what no other rank scores; `label` then finds all scores, and makes the labels.

    Arguments:
        workspace, config, reporter: as in `label`.
        number: the round.
        ranks: the place of this process.

    Raises:
        MismatchError: other ranks do something else.
        as `label`.
    """
    from umr.models.device import pick_device

    place = workspace.layout.round(number)
    with alone(workspace.layout.entrance):  # one measures, the others read what it chose
        candidates, models = _begin(workspace, place, config, reporter)
    how = {"memory": config.memory, "batch_tokens": config.batch_tokens, "on": pick_device(config.device).type}
    agreed = about("label", number, {**_made_from(place, config, models), **workspace.fingerprints()}, **how)
    with working_together(workspace.layout, ranks, agreed, reporter) as claims:
        if not place.labelled.exists():
            _score(workspace, place, pairs_of(workspace, candidates, config.screen), config, models, reporter, claims=claims)


def _labelled_before(workspace: Workspace, place: RoundLayout, config: LabelConfig, reporter: Reporter) -> Labels:
    manifest = read_manifest(place.labelled, "label")
    if not config.also and config.precision == manifest.get("config", {}).get("precision") == "auto":  # as it was settled; none is measured
        config = replace(config, precision=manifest["made_from"]["precision"])
    _, models = _begin(workspace, place, config, reporter)
    found = {**{name: getattr(LabelConfig(config.lm), name) for name in DECIDE}, **manifest["made_from"]}  # one that was not there yet
    wanted = _made_from(place, config, models)
    for key, name in (("lm", config.lm), ("also", list(config.also))):
        if found.get(key) != wanted[key] and manifest.get(key) != name:  # told as they were named, not by their digests
            found, wanted = {**found, key: manifest.get(key)}, {**wanted, key: name}
    found, wanted = ({OPTION_OF.get(key, key): value for key, value in values.items()} for values in (found, wanted))
    require_same(place.labelled, f"round {place.number} was labelled", found, wanted, KEEP)
    reporter.say(f"round {place.number} is labelled already: {place.labels}")
    return labels_of(place)


def forecast_labels(workspace: Workspace, config: LabelConfig, number: int | None = None, reporter: Reporting = None) -> list[Forecast]:
    """What labelling a round will take; no score is kept. The plan that is made stays, and labelling goes on with it.

    Arguments:
        workspace, config, number, reporter: see `label`.

    Returns:
        one forecast for each language model.

    Raises:
        as `label`, but for what only scoring finds out.
    """
    reporter = reporter_of(reporter)
    place = round_for(workspace.layout, "label", number)
    with workspace.writing(reporter):
        candidates, models = _begin(workspace, place, config, reporter)
        return _score(workspace, place, pairs_of(workspace, candidates, config.screen), config, models, reporter, dry_run=True)


def _begin(workspace: Workspace, place: RoundLayout, config: LabelConfig, reporter: Reporter) -> tuple[Candidates, list[Model]]:
    """The candidates of a round, and the language models, which are found but not loaded."""
    from umr.label.prompts.prompt import prompt_for
    from umr.label.scoring import identity_of
    from umr.models.lm import find_lm

    require_mined_with(workspace, place)
    candidates, models = candidates_of(place), list["Model"]()
    with reporter.bar("looking at the language models", 0, ""):
        found = [find_lm(name, reporter) for name in (config.lm, *config.also)]
    for lm in found:
        prompt = prompt_for(lm, config)
        identity = identity_of(workspace, candidates, lm, prompt, config, reporter)
        if any(identity == other for *_, other in models):
            raise UsageError(f"the language model {lm.name} is there twice", "name each language model once")
        models.append((lm, prompt, identity))
    return candidates, models


def _made_from(place: RoundLayout, config: LabelConfig, models: list[Model]) -> dict[str, Any]:
    """What decides the labels."""
    identity, *others = (identity for *_, identity in models)
    options = {name: getattr(config, name) for name in DECIDE}
    candidates = read_manifest(place.mined, "mine").get("files", {}).get(place.candidates.name)
    return {**identity, **options, "also": others, "candidates": candidates}


def _score(
    workspace: Workspace,
    place: RoundLayout,
    pairs: Pairs,
    config: LabelConfig,
    models: list[Model],
    reporter: Reporter,
    dry_run: bool = False,
    claims: Claims | None = None,
) -> list[Forecast]:
    """Score what is missing, by one language model after the other."""
    from umr.label.scoring import score_missing

    made = []
    for model in models:
        made.append(score_missing(workspace, place, pairs, *model, config, reporter, dry_run, claims))
        gc.collect()  # the model goes before the next one is loaded
    return made


def _label(
    workspace: Workspace,
    place: RoundLayout,
    pairs: Pairs,
    config: LabelConfig,
    models: list[Model],
    reporter: Reporter,
) -> Labels:
    """Merge the scores of all language models, and make and write the labels."""
    from umr.data.passage_langs import passage_languages
    from umr.label.scoring import stores_of

    stores = [open_scores(stores_of(workspace, config), identity) for *_, identity in models]
    scores, counts = pairs.lookup(stores)
    candidates = pairs.candidates
    langs = passage_languages(workspace.passages, candidates.rows, reporter)[1] if config.correct == "average" else None
    labels = make_labels(candidates, scores, config, langs)
    make_room(place, "label", reporter)  # only now: whatever fails before this line costs nothing that was finished
    labels.write(place.labels, workspace.passages)
    options = {name: value for name, value in asdict(config).items() if name not in ("lm", "also")}
    store = stores[0].folder if config.store else stores[0].folder.relative_to(workspace.layout.folder)  # so that the folder may move
    named = {"lm": config.lm, "also": list(config.also), "config": options, "store": str(store), "pairs": len(pairs), **counts[0]}
    write_manifest(place.labelled, "label", _made_from(place, config, models), {"files": checksums(place.labels), **named})
    if saturated := saturation(labels):
        reporter.warn(saturated)
    for stale in place.plans():  # of runs with other options that were never ended
        shutil.rmtree(stale, ignore_errors=True)
    return labels
