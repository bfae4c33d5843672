"""The loop over rounds: mine, label, train, and again with the better encoder (paper, figure 1).

A killed run continues where it stopped: every stage of every round is skipped when it is finished.
"""

from __future__ import annotations

from pathlib import Path

from umr.data.workspace import Workspace, create_workspace
from umr.label import label
from umr.mine import mine
from umr.progress import Reporting, reporter_of
from umr.run_file import RunConfig
from umr.train import train


def run(config: RunConfig, reporter: Reporting = None) -> Workspace:
    """Run the rounds in a row; what is finished is skipped.

    Arguments:
        config: everything.
        reporter: shows what is done: "console", a reporter of your own, or None for warnings alone.

    Returns:
        the work folder; its newest encoder is `workspace.encoder_of(config.rounds).model`.
    """
    reporter = reporter_of(reporter)
    passages, queries = ([Path(path) for path in paths] for paths in (config.passages, config.queries))
    workspace = create_workspace(config.work, passages, queries, config.encoder, config.lang, reporter)
    for number in range(config.rounds):
        round_of = f"round {number}, {number + 1} of {config.rounds}"
        reporter.say(f"\n[{round_of}: mine]")
        mine(workspace, config.mine, number, reporter)
        reporter.say(f"\n[{round_of}: label]")
        label(workspace, config.label, number, reporter)
        reporter.say(f"\n[{round_of}: train]")
        train(workspace, config.train, number, reporter)
    return workspace
