"""All scores of a round by one language model: what is there is looked up, what is missing is planned, then scored."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from umr.data.candidates import Candidates
from umr.data.scores import ScoreStore, open_scores
from umr.data.workspace import Workspace
from umr.label.budget import Budget, budget_for
from umr.label.check import sample_trees, spread_trees
from umr.label.engines import Engine, engine_for
from umr.label.forecast import Forecast, announce, forecast
from umr.label.model import Model
from umr.label.pairs import Floats, Pairs, pairs_of
from umr.label.plan import Plan, Shape, plan_for
from umr.label.reading import Reading
from umr.label.run import left, run
from umr.layout import RoundLayout
from umr.manifest import read_manifest
from umr.progress import Reporter

if TYPE_CHECKING:
    from umr.label.native.weights import Recipe
    from umr.label.pack import Tree
    from umr.models.lm import LanguageModel


@dataclass(frozen=True)
class Scored:
    """Scores of a round by one language model.

    Arguments:
        table: [Q, k] float32 nats, NaN where a candidate was screened out.
        prior: [Q] float32 nats under the empty passage, where asked for.
        pairs: scored candidates.
        store: path of the score store.
        counts: of its records.
    """

    table: Floats
    prior: Floats | None
    pairs: int
    store: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Work:
    """What is left to score, ready to begin; without a plan where nothing is left."""

    pairs: Pairs
    store: ScoreStore
    forecast: Forecast
    plan: Plan | None = None
    engine: Engine | None = None
    budget: Budget | None = None
    todo: tuple[int, ...] = ()


def score(workspace: Workspace, place: RoundLayout, candidates: Candidates, model: Model, reporter: Reporter) -> Scored:
    """Score what is missing, and look all scores up.

    Arguments:
        workspace: gives the texts.
        place: of the round; the plan of the work is kept there until it is done.
        candidates: of the round.
        model: the language model.
        reporter: shows what is done.

    Raises:
        UsageError: something that cannot be scored, named.
        ScoreError: a score is not finite.
        ModelError: the model cannot be loaded.
    """
    work = prepare(workspace, place, candidates, model, reporter)
    if work.plan is not None and work.engine is not None and work.budget is not None:
        run(
            workspace, work.pairs, work.plan, work.todo, work.engine, work.store, work.budget, work.forecast.flops, reporter
        )  # fmt: skip
        work.plan.remove()
    pairs, store = work.pairs, work.store
    del work
    gc.collect()  # the model goes before the next one comes
    values, counts = pairs.lookup(store)
    return Scored(pairs.table(values), pairs.prior(values), pairs.scored, str(store.folder), counts)


def prepare(workspace: Workspace, place: RoundLayout, candidates: Candidates, model: Model, reporter: Reporter) -> Work:
    """Load the model and plan what is missing; nothing is scored but a sample to check the model with.

    Arguments:
        workspace, place, candidates, model, reporter: see `score`.
    """
    store, pairs = open_scores(model.stores, model.identity), pairs_of(workspace, candidates, model.config)
    known, _ = pairs.lookup(store)
    missing = pairs.missing(known)
    reporter.say(f"{model.files.name}: {len(pairs):,} pairs, {len(known) - int(np.isnan(known).sum()):,} of them scored before")
    if not len(missing):
        return Work(pairs, store, Forecast(model.files.name, len(pairs), 0, template=model.prompt.source))
    lm = model.load()
    reading = Reading(model.prompt, lm.tokenizer, lm.encoder_decoder, model.config.source_length, lm.context)
    sample = [] if lm.encoder_decoder else sample_trees(workspace, pairs, missing, reading)
    spread = partial(spread_trees, workspace, pairs, missing, reading)
    engine = engine_for(lm, model.config, sample, reporter, partial(_recipe, lm, model, spread, reporter))
    budget = budget_for(model.config, engine.scorer, engine.device)
    shape = Shape(engine.shared, engine.scorer.unit == "packed", budget.tokens)
    made_from = _made_from(workspace, place, model, engine)
    plan = plan_for(place, made_from, workspace, pairs, missing, reading, shape, reporter)
    if 2 * budget.tokens >= plan.budget:  # what is free moves from run to run; the batches of a plan do not
        budget.tokens = plan.budget
    todo = left(plan, known)
    made = replace(forecast(model.files.name, pairs, len(missing), plan, todo, engine), template=model.prompt.source)
    announce(made, budget, reporter)
    return Work(pairs, store, made, plan, engine, budget, tuple(todo))


def _recipe(lm: LanguageModel, model: Model, sample: Callable[[int], list[Tree]], reporter: Reporter) -> Recipe:
    from umr.label.native.recipes import recipe_for

    return recipe_for(lm, model.stores, sample, reporter)


def _made_from(workspace: Workspace, place: RoundLayout, model: Model, engine: Engine) -> dict[str, Any]:
    config = model.config
    return {
        **model.identity, "passages": workspace.passages.fingerprint, "queries": workspace.queries.records.fingerprint,
        "candidates": read_manifest(place.mined, "mine").get("files", {}).get(place.candidates.name), "screen": config.screen,
        "prior": config.correct == "empty", "device": engine.device, "memory": config.memory, "pack_tokens": config.pack_tokens,
    }  # fmt: skip
