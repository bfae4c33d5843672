"""Columns in and out of Parquet, through pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umr.errors import FormatError, InputError
from umr.storage import beside

if TYPE_CHECKING:
    import pyarrow as pa


def write_blocks(path: Path, blocks: Iterable[Mapping[str, Any]]) -> None:
    """Write a table that comes block by block, each as a row group, so that memory holds one block; whole or not at all.

    Arguments:
        path: the file (zstd).
        blocks: at least one; columns of equal length in each, of the same names and types in all. A column that holds nothing
            but nulls in the first block is text.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with beside(path) as temporary:
        writer = None
        try:
            for columns in blocks:
                table = pa.table({name: pa.array(values) for name, values in columns.items()})
                fields = [field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in table.schema]
                writer = writer or parquet.ParquetWriter(temporary, pa.schema(fields), compression="zstd")
                writer.write_table(table.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()


def read_columns(path: Path, names: Sequence[str], every: int = 1) -> dict[str, NDArray[Any]]:
    """Read columns as NumPy arrays (text as objects).

    Arguments:
        path: the file.
        names: of the columns.
        every: the first row of so many; 1 for all.

    Raises:
        InputError, FormatError: as `read_table`.
    """
    table = read_table(path, names)
    if every > 1:
        table = table.take(np.arange(0, len(table), every))
    return {name: np.asarray(table[name].to_numpy()) for name in names}


def read_table(path: Path, names: Sequence[str]) -> pa.Table:
    """Read columns; text comes as dictionaries, so that a repeated id costs four bytes.

    Raises:
        InputError: there is no such file.
        FormatError: it is not Parquet, or a column is missing.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not path.exists():
        raise InputError(f"no such file: {path}", "run the stage that writes it")
    try:
        schema = parquet.read_schema(path)
        found = [name for name in names if name in schema.names]
        text = [name for name in found if pa.types.is_string(schema.field(name).type)]
        with parquet.ParquetFile(path, read_dictionary=text) as file:
            table = file.read(columns=found)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: not a whole Parquet file ({error})", "run the stage that wrote it again with --force") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise FormatError(
            f"{path}: no column {missing[0]!r}, found {', '.join(schema.names)}", "run the stage that writes it again with --force"
        )
    return table
