"""The second stage: log p(query | passage, prompt) for every candidate, then labels (paper, section 3.2)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from umr.config import LabelConfig
from umr.data.candidates import Candidates, candidates_of
from umr.data.labels import Labels, labels_of, make_labels
from umr.data.workspace import Workspace, clear_from, require_mined_with, round_for
from umr.errors import UsageError
from umr.layout import RoundLayout
from umr.manifest import checksums, read_manifest, require_same, write_manifest
from umr.progress import Reporter, Silent

if TYPE_CHECKING:
    from umr.label.forecast import Forecast
    from umr.label.model import Model

KEEP = "leave the options as they were, or redo the round with --force"


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
        config: language models, prompt, truncation, precision, and how scores become labels.
        number: the round; None for the newest.
        reporter: shows what is done.
        force: label again even where the round is labelled; scores are kept.

    Raises:
        MismatchError: the round was labelled with another configuration.
        ScoreError: the model gave a score that is not finite; the message names the pair.
        UsageError: a question or a prompt that the model cannot take; the message names it.
        ModelError: a model cannot be loaded.
    """
    reporter = reporter or Silent()
    place, models = _begin(workspace, config, number, reporter)
    made_from = _made_from(config, models)
    if place.labelled.exists() and not force:
        found = read_manifest(place.labelled, "label")["made_from"]
        require_same(place.labelled, f"round {place.number} was labelled", found, dict.fromkeys(found) | made_from, KEEP)
        reporter.say(f"round {place.number} is labelled already: {place.labels}")
        return labels_of(place)
    return _label(workspace, place, config, models, made_from, reporter)


def forecast_labels(
    workspace: Workspace, config: LabelConfig, number: int | None = None, reporter: Reporter | None = None
) -> list[Forecast]:
    """What labelling a round will take; nothing is scored. The plan that is made stays, and labelling goes on with it.

    Arguments:
        workspace, config, number, reporter: see `label`.

    Returns:
        one forecast for each language model and prompt.

    Raises:
        as `label`, but for what only scoring finds out.
    """
    from umr.label.score import prepare

    reporter = reporter or Silent()
    place, models = _begin(workspace, config, number, reporter)
    candidates, made = candidates_of(place), []
    for model in models:
        made.append(prepare(workspace, place, candidates, model, reporter).forecast)
    return made


def _begin(workspace: Workspace, config: LabelConfig, number: int | None, reporter: Reporter) -> tuple[RoundLayout, list[Model]]:
    from umr.label.model import find_model

    place = round_for(workspace.layout, "label", number)
    require_mined_with(workspace, place)
    models = [find_model(workspace, one, reporter) for one in _alone(config)]
    for at, model in enumerate(models):
        if any(model.identity == other.identity for other in models[:at]):
            raise UsageError(
                f"{model.files.name} with the template {model.prompt.source!r} is there twice",
                "name each language model and each template once",
            )
    return place, models


def _alone(config: LabelConfig) -> list[LabelConfig]:
    """The configuration of each language model and prompt; only the first has its prior taken out."""
    first = replace(config, also=())
    further = replace(first, correct="none")
    return [first, *(replace(further, lm=name) for name in config.also)]


def _made_from(config: LabelConfig, models: list[Model]) -> dict[str, Any]:
    """What decides the labels; options that are as they always were do not enter, so that older labels stay valid."""
    options = {"fuse": config.fuse, "correct": config.correct, "screen": config.screen, "also": [model.identity for model in models[1:]]}
    usual = {"fuse": 0.0, "correct": "none", "screen": None, "also": []}
    return {**models[0].identity, "temperature": config.temperature, **{k: v for k, v in options.items() if v != usual[k]}}


def _label(
    workspace: Workspace, place: RoundLayout, config: LabelConfig, models: list[Model], made_from: dict[str, Any], reporter: Reporter
) -> Labels:
    from umr.label.score import score

    candidates = candidates_of(place)
    scored = [score(workspace, place, candidates, model, reporter) for model in models]
    first, *others = scored
    labels = make_labels(
        candidates, first.table, config, others=[s.table for s in others], prior=first.prior,
        passage_langs=_passage_langs(workspace, candidates, config, reporter),
    )  # fmt: skip
    clear_from(place, "label")  # only now: whatever fails before this line costs nothing that was finished
    labels.write(place.labels, workspace.passages)
    named = {"lm": config.lm, "also": list(config.also)}
    contents = {"files": checksums(place.labels), **named, "store": first.store, "pairs": first.pairs, **first.counts}
    write_manifest(place.labelled, "label", made_from, contents)
    for stale in place.plans():  # of runs with other options that were never ended
        shutil.rmtree(stale, ignore_errors=True)
    return labels


def _passage_langs(workspace: Workspace, candidates: Candidates, config: LabelConfig, reporter: Reporter) -> Any:
    from umr.data.passage_langs import passage_languages

    return passage_languages(workspace.passages, candidates.rows, reporter) if config.correct == "average" else None
