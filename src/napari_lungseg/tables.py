"""Rows of numbers: comma-separated, as Parquet, or aligned for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from napari_lungseg.errors import InputError

#: Values by the names of their columns.
Row = dict[str, Any]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows of the same columns as comma-separated values with a heading; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: as_cell(value) for column, value in row.items()} for row in rows)
    return text.getvalue()


def require_parquet() -> None:
    """Check that Parquet can be written, before the long work whose table it is (InputError where it cannot)."""
    if find_spec("pyarrow") is None:
        raise InputError("Parquet is written by pyarrow, which is not installed; install it with: pip install 'napari-lungseg[parquet]'")


def as_parquet(rows: Sequence[Row], kinds: Mapping[str, type]) -> bytes:
    """Rows as a file of Parquet; None is null.

    Parameters
    ----------
    rows : sequence of dict
        Of the same columns.
    kinds : mapping of str to type
        Of the values of each column, ``int``, ``float`` or ``str``: it is the same for every table, also where a column is all null.

    Returns
    -------
    bytes
        Names of files that are not UTF-8 are escaped.
    """
    require_parquet()
    import pyarrow
    import pyarrow.parquet

    types = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    columns = {name: pyarrow.array([_as_utf8(row[name]) for row in rows], types[kind]) for name, kind in kinds.items()}
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def _as_utf8(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def as_cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, as text: names come from files; other values as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many cells each, in columns as wide as their widest cell."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
