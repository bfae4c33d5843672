"""Passages and queries as users have them: files, tables, data sets, lists. What is no text file becomes one in the work folder."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from umr._rust import fingerprint, fingerprint_files
from umr.data.corpus import expand
from umr.errors import FormatError, InputError, MissingExtraError
from umr.layout import WorkLayout
from umr.storage import beside, fetched, is_remote, read_json

Inputs: TypeAlias = str | os.PathLike[str] | Iterable[Any]
"""A path or glob, or several; or records: texts, tuples, dicts, a pandas or polars frame, an Arrow table, a `datasets.Dataset`."""

COLUMNS = {"passages": ("id", "text", "title"), "queries": ("id", "query", "lang")}
ENDING = re.compile(r"\.(tsv|txt|csv|jsonl|json|ndjson|gz|parquet)$", re.IGNORECASE)
IR_DATASETS = "irds:"
"""What begins the name of a data set of ir_datasets."""
ROWS = 4096  # of a table that are read at once


def input_files(inputs: Inputs, what: str, layout: WorkLayout) -> list[str]:
    """The files of a collection; what is no text file is written as JSONL below the work folder, under the digest of its content or, of
    files, of their names, sizes and times.

    A `str` or path alone is a path. A list of strings is one of paths where its first is a file, a glob with a match or looks like
    a path; else they are texts, whose ids are their numbers from 0.

    Arguments:
        inputs: see `Inputs`. A path may be that of a Parquet file, of a folder that `datasets` saved, `irds:` and the id of a data set of
            ir_datasets, or the address of an object that fsspec knows. Tuples are (id, text, title) or (id, query, lang), the last of
            them optional; dicts and columns have the
            names that JSONL files have (docs/inputs.md). A dict of ids is taken as BEIR has it.
        what: `passages` or `queries`.
        layout: the work folder.

    Raises:
        InputError: a path that does not exist, or a record of another kind.
        FormatError: a damaged table, or a data set of several splits.
        MissingExtraError: ir_datasets is not installed.
    """
    names = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    if names is not inputs or (isinstance(names, list | tuple) and (not names or _is_path(names[0]))):
        return list(dict.fromkeys(file for name in names for file in _text_files(name, what, layout)))
    written = layout.inputs / f"{what}.jsonl"
    _write(written, _rows(inputs), what)
    place = layout.inputs / f"{what}-{fingerprint_files([str(written)])[:16]}.jsonl"
    written.replace(place)
    return expand([place], what)


def as_inputs(names: Iterable[str]) -> list[str | Path]:
    """Inputs as a command line names them: files, also where a name looks like a text, and addresses of objects as they are."""
    return [name if is_remote(name) else Path(name) for name in names]


def _text_files(name: str | os.PathLike[str], what: str, layout: WorkLayout) -> list[str]:
    """The text files that a path or glob stands for, those of tables and data sets written first where they are not there."""
    if os.fspath(name).startswith(IR_DATASETS):
        place = layout.inputs / f"{what}-{fingerprint(os.fspath(name))[:16]}.jsonl"
        if not place.exists():
            _write(place, ir_datasets_rows(os.fspath(name), what), what)
        return [str(place.absolute())]
    files, remote = [], is_remote(os.fspath(name))
    for path in fetched(os.fspath(name), layout.inputs.absolute()) if remote else map(Path, expand([name], what)):
        if not path.is_dir() and path.suffix.lower() != ".parquet":
            files.append(str(path))
            continue
        parts = _arrow_files(path) if path.is_dir() else [path]
        known = [(str(part), part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
        place = layout.inputs / f"{what}-{fingerprint(json.dumps(known))[:16]}.jsonl"
        if not place.exists():
            _write(place, (row for part in parts for row in _table_rows(part)), what)
        files.append(str(place.absolute()))
    return files


def _write(place: Path, rows: Iterable[Any], what: str) -> None:
    with beside(place) as temporary, temporary.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as handle:
        for number, item in enumerate(rows):
            handle.write(json.dumps(_record(item, number, what), ensure_ascii=False) + "\n")


def _arrow_files(folder: Path) -> list[Path]:
    """The files of a data set that `datasets` saved, in order."""
    if (folder / "dataset_dict.json").exists():
        splits = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise FormatError(f"{folder}: a data set of several splits", f"name one of them: {splits}")
    if not (folder / "state.json").exists():
        raise FormatError(
            f"{folder}: a folder, but none that `datasets` saved (it has no state.json)", "name the files in it, or a quoted glob"
        )
    state = read_json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise FormatError(f"{folder}: a selection of another data set's rows", "save it after flatten_indices()")
    return [folder / part["filename"] for part in state["_data_files"]]


def _table_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(ROWS, columns=_plain(file.schema_arrow)):
                    yield from batch.to_pylist()
        else:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as batches:
                for batch in batches:
                    yield from batch.select(_plain(batch.schema)).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise FormatError(f"{path}: not a whole table ({error})", "fetch or write the file again") from error


def _plain(schema: Any) -> list[str]:
    """The columns of a table that hold no lists: not the embeddings that many corpora carry."""
    from pyarrow import types

    return [field.name for field in schema if not types.is_nested(field.type)]


def ir_datasets_of(name: str) -> Any:
    """A data set of ir_datasets, which fetches what it does not have from where its publisher keeps it.

    Raises:
        MissingExtraError: ir_datasets is not installed.
        InputError: it knows no such data set.
    """
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingExtraError(f"{name} needs ir_datasets, which is not installed", "pip install 'umr[ir-datasets]'") from error
    try:
        return ir_datasets.load(name.removeprefix(IR_DATASETS))
    except KeyError:
        raise InputError(f"ir_datasets knows no data set {name.removeprefix(IR_DATASETS)!r}", "its ids are on its web site") from None


def ir_datasets_rows(name: str, what: str) -> Iterator[dict[str, Any]]:
    """The passages or queries of a data set of ir_datasets; a text that is made of several fields has the title in it.

    Raises:
        InputError: it has none, or they cannot be fetched.
    """
    data, side = ir_datasets_of(name), {"passages": "docs", "queries": "queries"}[what]
    if not getattr(data, f"has_{side}")():
        raise InputError(f"{name} has no {what}", f"name one that has {side}")
    lang = getattr(data, f"{side}_lang")() or ""
    try:
        for item in getattr(data, f"{side}_iter")():
            whole = not hasattr(item, "text")
            row = {"id": item[0], "text": item.default_text() if whole else item.text, "lang": lang}
            yield row if what == "queries" else {**row, "title": "" if whole else getattr(item, "title", "")}
    except OSError as error:
        raise InputError(f"{name} cannot be fetched: {error}", "ir_datasets says where its files come from") from error


def _is_path(item: Any) -> bool:
    if not isinstance(item, str):
        return isinstance(item, os.PathLike)
    if len(item.split()) < 2 and (item.startswith(IR_DATASETS) or is_remote(item) or ENDING.search(item) or os.sep in item):
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
    return {name: value for name, value in values.items() if type(value) in (str, int) or (type(value) is float and math.isfinite(value))}
