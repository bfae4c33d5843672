"""Columns in and out of Parquet, through pyarrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umr.errors import FormatError, InputError
from umr.storage import beside


def write_columns(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length as one Parquet file (zstd), whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    arrays = {name: pa.array(values) for name, values in columns.items()}
    with beside(path) as temporary:
        parquet.write_table(pa.table(arrays), temporary, compression="zstd")


def read_columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read columns as NumPy arrays (text as objects).

    Raises:
        InputError: there is no such file.
        FormatError: it is not Parquet, or a column is missing.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if not path.exists():
        raise InputError(f"no such file: {path}", "run the stage that writes it")
    try:
        with parquet.ParquetFile(path) as file:
            found = file.schema_arrow.names
            table = file.read(columns=[name for name in names if name in found])
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: not a whole Parquet file ({error})", "run the stage that wrote it again with --force") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise FormatError(f"{path}: no column {missing[0]!r}, found {', '.join(found)}", "run the stage that writes it again with --force")
    return {name: np.asarray(table[name].to_numpy(zero_copy_only=False)) for name in names}
