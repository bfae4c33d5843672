"""Passages and queries as Python has them: paths, lists, frames, data sets. What is no file becomes one in the work folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from umr._rust import fingerprint_files
from umr.data.corpus import expand
from umr.errors import InputError
from umr.layout import WorkLayout
from umr.storage import beside

Inputs: TypeAlias = str | os.PathLike[str] | Iterable[Any]
"""A path or glob, or several; or records: texts, tuples, dicts, a pandas or polars frame, an Arrow table, a `datasets.Dataset`."""

COLUMNS = {"passages": ("id", "text", "title"), "queries": ("id", "query", "lang")}
ENDING = re.compile(r"\.(tsv|txt|csv|jsonl|json|ndjson|gz)$", re.IGNORECASE)


def input_files(inputs: Inputs, what: str, layout: WorkLayout) -> list[str]:
    """The files of a collection; records in memory are written as JSONL below the work folder, under the digest of their content.

    A `str` or path alone is a path. A list of strings is one of paths where its first is a file, a glob with a match or looks like
    a path; else they are texts, whose ids are their numbers from 0.

    Arguments:
        inputs: see `Inputs`. Tuples are (id, text, title) or (id, query, lang), the last of them optional; dicts and columns have the names
            that JSONL files have (docs/inputs.md). A dict of ids is taken as BEIR has it.
        what: `passages` or `queries`.
        layout: the work folder.

    Raises:
        InputError: a path that does not exist, or a record of another kind.
    """
    if isinstance(inputs, str | os.PathLike):
        return expand([inputs], what)
    if isinstance(inputs, list | tuple) and (not inputs or _is_path(inputs[0])):
        return expand(inputs, what)
    written = layout.inputs / f"{what}.jsonl"
    with beside(written) as temporary, temporary.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as handle:
        for number, item in enumerate(_rows(inputs)):
            handle.write(json.dumps(_record(item, number, what), ensure_ascii=False) + "\n")
    place = layout.inputs / f"{what}-{fingerprint_files([str(written)])[:16]}.jsonl"
    written.replace(place)
    return expand([place], what)


def _is_path(item: Any) -> bool:
    if not isinstance(item, str):
        return isinstance(item, os.PathLike)
    if len(item.split()) < 2 and (ENDING.search(item) or os.sep in item):
        return True
    try:
        return bool(expand(item, ""))
    except (InputError, OSError, ValueError):  # a text may be too long for a name, or hold what a name cannot
        return False


def _rows(inputs: Any) -> Iterator[Any]:
    """The records of a collection, whose class is told by what it can do: none of these libraries is imported."""
    if hasattr(inputs, "iter_rows"):  # polars
        yield from inputs.iter_rows(named=True)
    elif hasattr(inputs, "to_dict") and hasattr(inputs, "columns"):  # pandas
        for start in range(0, len(inputs), 65536):
            yield from inputs.iloc[start : start + 65536].to_dict("records")
    elif hasattr(inputs, "to_pylist"):  # Arrow
        yield from inputs.to_pylist()
    elif isinstance(inputs, Mapping):
        yield from ({"_id": key, **value} if isinstance(value, Mapping) else (key, value) for key, value in inputs.items())
    else:
        yield from inputs


def _record(item: Any, number: int, what: str) -> dict[str, Any]:
    columns = COLUMNS[what]
    if isinstance(item, str):
        item = (str(number), item)
    if isinstance(item, list | tuple) and 2 <= len(item) <= len(columns):
        item = dict(zip(columns, item, strict=False))
    if not isinstance(item, Mapping):
        expected = f"expected a text, ({', '.join(columns)}), or a dict with these names"
        raise InputError(f"{what}: record {number} is {str(item)[:80]!r} ({type(item).__name__})", expected)
    values = {str(name): value.item() if np.isscalar(value) and hasattr(value, "item") else value for name, value in item.items()}
    return {name: value for name, value in values.items() if type(value) in (str, int, float) and value == value}
