"""The loop over rounds: mine, label, train, and again with the better encoder (paper, figure 1).

A killed run continues where it stopped: every stage of every round is skipped when it is finished.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from umr.data.inputs import as_inputs
from umr.data.workspace import Workspace, create_workspace
from umr.errors import MismatchError, UsageError
from umr.label import label
from umr.mine import mine
from umr.progress import Reporting, reporter_of
from umr.run_file import RunConfig
from umr.together import label_together, mine_together, opened, ranks_for, train_together
from umr.train import train

STAGES: dict[str, Callable[..., object]] = {"mine": mine, "label": label, "train": train}
TOGETHER: dict[str, Callable[..., object]] = {"mine": mine_together, "label": label_together, "train": train_together}


def run(config: RunConfig, reporter: Reporting = None, force_from: tuple[int, str] | None = None) -> Workspace:
    """Run the rounds in a row; what is finished is skipped.

    Arguments:
        config: everything.
        reporter: shows what is done: "console", a reporter of your own, or None for warnings alone.
        force_from: a round and a stage, `mine`, `label` or `train`: this and all that comes after it is done again.

    Returns:
        the work folder; its newest encoder is `workspace.encoder_of(config.rounds).model`.

    Raises:
        UsageError: there is no such round or stage.
        MismatchError: a stage was run with other settings.
    """
    if force_from and (force_from[0] not in range(config.rounds) or force_from[1] not in STAGES):
        known = f"rounds: 0 to {config.rounds - 1}; stages: {', '.join(STAGES)}"
        raise UsageError(f"there is no stage {force_from[1]!r} of round {force_from[0]} in this run", known)
    reporter, stages, ranks = reporter_of(reporter), list(STAGES), ranks_for(None, force_from is not None)
    passages, queries = as_inputs(config.passages), as_inputs(config.queries)
    workspace = opened(
        Path(config.work), ranks, lambda: create_workspace(config.work, passages, queries, config.encoder, config.lang, reporter)
    )
    for number in range(config.rounds):
        for stage in STAGES:
            reporter.say(f"\n[round {number}, {number + 1} of {config.rounds}: {stage}]")
            force = force_from is not None and (number, stages.index(stage)) >= (force_from[0], stages.index(force_from[1]))
            try:
                if ranks:
                    TOGETHER[stage](workspace, getattr(config, stage), number, reporter, ranks=ranks)
                else:
                    STAGES[stage](workspace, getattr(config, stage), number, reporter, force)
            except MismatchError as error:
                again = f"`umr run FILE --force-from {number} {stage}` does a stage and all after it again"
                raise MismatchError(error.message, f"{error.hint}; {again}") from error
    return workspace
