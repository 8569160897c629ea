"""Read a list of scans: comma-separated values with a column ``path``, and what else is to be done with each."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from napari_lungseg.errors import InputError
from napari_lungseg.files import given_path, read_whole
from napari_lungseg.volume import Unit

#: Ending of a list.
ENDING = ".csv"
#: A list of a million scans is smaller.
_MOST_BYTES = 1 << 28
_COLUMNS = ("path", "output", "series", "unit")


@dataclass(frozen=True)
class ListedScan:
    """One row of a list.

    Attributes
    ----------
    where : str
        The list and the line, for messages.
    path : Path
        The scan.
    output : str
        Name of its result; empty where the row has none.
    series : str or None
        Which image of the scan.
    unit : {"HU", "arbitrary"} or None
        What its numbers mean.
    """

    where: str
    path: Path
    output: str
    series: str | None
    unit: Unit | None


def read_list(path: Path) -> tuple[list[ListedScan], list[tuple[Path, str]]]:
    """Read a list of scans.

    Parameters
    ----------
    path : Path
        Comma, semicolon or tab separated values in UTF-8, with a heading. Paths in it are relative to its folder; other columns than
        ``path``, ``output``, ``series`` and ``unit`` are not looked at.

    Returns
    -------
    scans : list of ListedScan
        In the list's order.
    failures : list of (Path, str)
        For each row that cannot be used: its scan, or list and line where it names none, and why, with the line.

    Raises
    ------
    InputError
        When the list cannot be read, has no column ``path``, or no rows.
    """
    try:
        text = read_whole(path, _MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the name.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; save the list as CSV in UTF-8.") from error
    heading = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count))
    scans: list[ListedScan] = []
    failures: list[tuple[Path, str]] = []
    try:
        columns = [name.strip().casefold() for name in next(reader, [])]
        if any(columns.count(name) > 1 for name in _COLUMNS) or "path" not in columns:
            raise InputError(f"{path} should have one column called path in its first line, and at most one each of output, series, unit.")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row = {name: cell.strip() for name, cell in zip(columns, cells)}
            where = f"{path}, line {reader.line_num}"
            source = Path(where)
            try:
                if any(cell.strip() for cell in cells[len(columns) :]):
                    raise InputError("there are more cells than columns; put names with a comma in double quotes.")
                if not row["path"]:
                    raise InputError("the path is missing.")
                source = path.parent / given_path(row["path"])
                scans.append(_scan(where, source, row))
            except InputError as error:
                failures.append((source, f"{where}: {error}"))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}, cannot be read ({error}); save the list as CSV again.") from error
    if not scans and not failures:
        raise InputError(f"{path} lists no scans; give each a line with its path.")
    return scans, failures


def _scan(where: str, source: Path, row: dict[str, str]) -> ListedScan:
    if not given_path(source).exists():
        raise InputError(f"{source} does not exist; check the name.")
    unit = next((unit for unit in get_args(Unit) if unit.casefold() == row.get("unit", "").casefold()), None)
    if row.get("unit") and unit is None:
        raise InputError(f"the unit {row['unit']} is not known; it should be HU, arbitrary or empty.")
    return ListedScan(where, source, row.get("output", ""), row.get("series") or None, unit)
