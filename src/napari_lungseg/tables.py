"""Rows of numbers as text: comma-separated, or aligned for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

#: Values by the names of their columns.
Row = dict[str, Any]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows of the same columns as comma-separated values with a heading; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: as_cell(value) for column, value in row.items()} for row in rows)
    return text.getvalue()


def as_cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, as text: names come from files; other values as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many cells each, in columns as wide as their widest cell."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
