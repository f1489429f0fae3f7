"""The tables that an evaluation leaves beside its numbers, as Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqbench.errors import InputError


def packed(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Columns of equal length as the content of a Parquet file, as small as it gets.

    Integers are stored as differences from row to row: what is sorted takes next to nothing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    integers = [name for name, column in columns.items() if np.issubdtype(column.dtype, np.integer)]
    pq.write_table(
        pa.table(dict(columns)),
        sink,
        compression="zstd",
        use_dictionary=False,
        column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def read(file: Path, needed: Sequence[str], whole: Sequence[str] = ()) -> Any:
    """The pyarrow table of a file; None if it is not there.

    Args:
        needed: columns that it must have.
        whole: those of them that hold whole numbers, or true and false, in every row.

    Raises:
        InputError: it is not Parquet, or lacks a column that is needed, or such a column holds something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file, memory_map=True).read()
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file}: cannot be read as Parquet ({error})") from error
    lacking = [name for name in needed if name not in table.column_names]
    if lacking:
        there = ", ".join(table.column_names)
        raise InputError(f"{file}: column {lacking[0]!r} is missing; there are {there}")
    for name in whole:
        column = table[name]
        if not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
            raise InputError(f"{file}: column {name!r} holds {column.type}, expected whole numbers")
        if column.null_count:
            raise InputError(f"{file}: column {name!r} has {column.null_count} rows without a number")
    return table
