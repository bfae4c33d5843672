"""`umr demo`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umr.cli.arguments import Device
from umr.cli.options import command as make_command
from umr.cli.output import Result
from umr.progress import Reporter

if TYPE_CHECKING:
    from rich.console import RenderableType

    from umr.demo import Demonstration

NAME = "demo"

OWN_DATA = """
With your own passages and questions (formats: docs/formats.md), one round is three commands:
  umr mine  WORK --passages passages.tsv --queries questions.jsonl --encoder MODEL
  umr label WORK --lm MODEL
  umr train WORK
MODEL is a folder, a hub id, or one of `umr models`. Then `umr mine WORK` opens the next round,
`umr search WORK "a question"` shows passages, and `umr eval WORK --qrels QRELS` measures, where there is gold.
"""


def demo(
    reporter: Reporter,
    work: Annotated[Path, typer.Option(help="The work folder; a finished demonstration there is shown again.")] = Path("umr-demo"),
    device: Device = "auto",
) -> Result:
    """Run the loop on a shipped corpus with real models: mine, label, train, mine again, evaluate. About seven minutes on two cores."""
    from umr.demo import demonstrate

    found = demonstrate(work, device, reporter)
    before, after = (100 * value.macro["R@1"] for value in (found.before, found.after))
    data = {
        "work": str(work), "before": found.before.data(), "after": found.after.data(),
        "comparisons": [asdict(c) for c in found.comparisons],
    }  # fmt: skip
    return Result(data, [*_tables(found), OWN_DATA, f"macro R@1: {before:.1f} -> {after:.1f}"])


def _tables(found: Demonstration) -> list[RenderableType]:
    from umr.evaluate import comparison_table

    return [comparison_table(found.comparisons, "held-out questions: multilingual-e5-small before and after one round")]


command = make_command(demo)
