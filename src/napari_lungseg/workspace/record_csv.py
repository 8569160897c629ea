"""The record as a table, for those who have to show who did what when."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from napari_lungseg.files import given_path, whole_file
from napari_lungseg.tables import as_cell
from napari_lungseg.workspace.workspace import Workspace

COLUMNS = ("at", "user", "what", "image", "content", "details")


def export_record(workspace: Workspace, path: str | Path) -> Path:
    """Write everything that happened in a workspace, in order, as CSV.

    Parameters
    ----------
    workspace : Workspace
        Whose record.
    path : path
        Its columns are the time (ISO 8601), the user, what was done, name and content hash of the image, and the details as JSON.

    Returns
    -------
    path : Path
        What was written.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    path = given_path(path)
    names = {summary.case.content: summary.case.name for summary in workspace.cases()}
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for event in workspace.record():
            details = json.dumps(dict(event.details), ensure_ascii=False, default=str)
            cells = (event.at.isoformat(), event.user, event.kind, names.get(event.content or "", ""), event.content or "", details)
            table.writerow([as_cell(cell) for cell in cells])
    return path
