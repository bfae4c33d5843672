"""All scores of a round by one language model: what is missing in its store is planned, then scored batch after batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umr.config import LabelConfig, Precision
from umr.data.candidates import Candidates
from umr.data.scores import ScoreStore, open_scores
from umr.data.workspace import Workspace
from umr.errors import ScoreError
from umr.label.plan.budget import budget_for, score_within
from umr.label.plan.forecast import Forecast, announce, forecast, seconds_per_token
from umr.label.plan.pairs import Pairs
from umr.label.plan.plan import Plan, plan_for
from umr.label.prompts.prompt import Prompt
from umr.label.prompts.texts import sample_trees
from umr.label.scorers import ENGINE, Scorer
from umr.label.scorers.choose import faster_precision, load_scorer
from umr.label.scorers.vllm import ENGINE as VLLM
from umr.label.scorers.vllm import require_vllm
from umr.layout import RoundLayout
from umr.manifest import read_manifest
from umr.models.device import keep_precision, pick_device
from umr.models.feeding import prefetch
from umr.models.lm import LanguageModel
from umr.progress import Reporter
from umr.progress.clock import Clock
from umr.storage import remove
from umr.work.ranks import Claims

UNIT_BATCHES = 16  # that a rank takes at once; fewer where there would not be enough for many ranks


def stores_of(workspace: Workspace, config: LabelConfig) -> Path:
    """The folder of score stores."""
    return Path(config.store) if config.store else workspace.layout.scores


def identity_of(
    workspace: Workspace, candidates: Candidates, lm: LanguageModel, prompt: Prompt, config: LabelConfig, reporter: Reporter
) -> dict[str, Any]:
    """What decides a score, beyond the tolerance of its precision: only scores with the same identity come into one list.

    A measured precision is kept beside the stores, so that every round and work folder finds the same scores.

    Arguments:
        workspace: gives the texts of a few pairs, to measure with.
        candidates: of the round.
        lm: the language model, found.
        prompt: its prompt.
        config: of the stage.
        reporter: told what was measured.
    """
    device = pick_device(config.device)
    if config.engine == "vllm":
        require_vllm(lm, device)
    kept = stores_of(workspace, config) / f"precision-{lm.fingerprint[:16]}.json"

    def measure() -> Precision:
        with reporter.bar("measuring which precision is faster", 0, ""):
            return faster_precision(lm, config, sample_trees(workspace, candidates, prompt), device, reporter)

    precision = keep_precision(kept, config.precision, device, reporter, measure)
    return {
        "engine": VLLM if config.engine == "vllm" else ENGINE, "lm": lm.fingerprint,
        "source": prompt.source, "target": prompt.target, "chat": prompt.chat,
        "reduction": config.reduction, "source_length": config.source_length, "weights": config.weights, "precision": precision,
        "device": device.type if precision == "bf16" else "any",  # each device rounds bf16 products in its own way
    }  # fmt: skip


def score_missing(
    workspace: Workspace,
    place: RoundLayout,
    pairs: Pairs,
    lm: LanguageModel,
    prompt: Prompt,
    identity: Mapping[str, Any],
    config: LabelConfig,
    reporter: Reporter,
    dry_run: bool = False,
    claims: Claims | None = None,
) -> Forecast:
    """Score the pairs of a round that have no score yet.

    Arguments:
        workspace: gives the texts.
        place: of the round; the plan of the work is kept there until it is done.
        pairs: of the round.
        lm: the language model, found.
        prompt: its prompt.
        identity: of its scores.
        config: of the stage.
        reporter: shows what is done.
        dry_run: score some batches, to tell the time, and keep nothing but the plan.
        claims: of the ranks that score together; this one does its part.

    Returns:
        what was to do.

    Raises:
        UsageError: something that cannot be scored, named.
        ScoreError: a score is not finite.
        ModelError: the model cannot be loaded.
    """
    store = open_scores(stores_of(workspace, config), identity)
    table = pairs.lookup([store], reporter)[0][0]
    missing = pairs.missing(table)
    reporter.say(f"{lm.name}: {len(pairs):,} pairs, {int(np.isfinite(table).sum()):,} of them scored before")
    if not len(missing):
        return Forecast(lm.name, len(pairs), 0)
    device = pick_device(config.device)
    with reporter.bar(f"loading {lm.name}", 0, ""):
        scorer = load_scorer(lm, identity["precision"], config, sample_trees(workspace, pairs.candidates, prompt), device, reporter)
    budget = budget_for(config, scorer, str(device))
    made_from = _made_from(workspace, place, identity, config, device.type)
    with claims.alone() if claims else nullcontext():
        plan = plan_for(place, made_from, store, workspace, pairs, missing, prompt, scorer.share, budget, reporter)
    if 2 * budget >= plan.budget:  # free memory changes from run to run; the batches of a plan do not
        budget = plan.budget
    batches = plan.unfinished_batches(table, pairs)
    made = forecast(lm.name, pairs, len(missing), plan, batches, scorer)
    if dry_run:
        made = replace(made, seconds=made.tokens * seconds_per_token(plan, batches, scorer, device.type, reporter))
    announce(made, reporter)
    if not dry_run:
        units = _units(plan, batches, pairs, store, claims) if claims else [batches]
        _run(workspace, pairs, plan, batches, units, scorer, store, budget, device, reporter)
        if not claims:
            remove(plan.folder)
    return made


def _units(plan: Plan, batches: Sequence[int], pairs: Pairs, store: ScoreStore, claims: Claims) -> Iterator[list[int]]:
    """The batches of each unit that no other rank scores; of one whose rank died, those that it did not get to."""
    left, size = set(batches), max(1, min(UNIT_BATCHES, len(plan) // 64))
    spans = {f"{plan.folder.name}-{first}": range(first, min(first + size, len(plan))) for first in range(0, len(plan), size)}
    for unit, begun in claims.each([unit for unit, span in spans.items() if left.intersection(span)]):
        known = set(plan.unfinished_batches(pairs.lookup([store])[0][0], pairs)) if begun else left
        yield [batch for batch in spans[unit] if batch in left & known]


def _made_from(workspace: Workspace, place: RoundLayout, identity: Mapping[str, Any], config: LabelConfig, device: str) -> dict[str, Any]:
    """What decides the pairs of a plan, their token ids and, with the budget, their batches."""
    return {
        **identity, **workspace.fingerprints(), "candidates": read_manifest(place.mined, "mine")["files"].get(place.candidates.name),
        "screen": config.screen, "on": device, "memory": config.memory, "batch_tokens": config.batch_tokens,
    }  # fmt: skip


def _run(
    workspace: Workspace,
    pairs: Pairs,
    plan: Plan,
    batches: Sequence[int],
    units: Iterable[Sequence[int]],
    scorer: Scorer,
    store: ScoreStore,
    budget: int,
    device: torch.device,
    reporter: Reporter,
) -> None:
    """Score units of batches into a store, each batch on disk before the next is scored; a unit is asked for when the one before is."""
    clock = Clock(sum(len(plan.places(batch)) for batch in batches))
    with reporter.bar("labelling", sum(map(plan.tokens, batches)), "tokens") as bar, store.appending() as log:
        for batch, trees in chain.from_iterable(prefetch(((b, plan.trees(b)) for b in unit), device) for unit in units):
            numbers = plan.numbers[plan.places(batch)]
            scores, budget = score_within(scorer, trees, budget, reporter)
            bad = np.flatnonzero(~np.isfinite(scores))
            if len(bad):
                query, passage = pairs.names(workspace, int(numbers[bad[0]]))
                raise ScoreError(
                    f"the score of query {query!r} and passage {passage!r} is {scores[bad[0]]}",
                    "a model that overflows in bf16 may not in fp32: use --precision fp32",
                )
            log.append(*pairs.keys(numbers), scores)
            clock.advance(len(numbers))
            bar.note(", ".join(filter(None, (clock.count("pairs"), clock.speed()))))
            bar.advance(plan.tokens(batch))
    reporter.say(f"scored {clock.summary('pairs')}")
