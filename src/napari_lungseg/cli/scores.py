"""The end of commands that score: what failed, the table, and the files."""

from __future__ import annotations

from pathlib import Path

from napari_lungseg.cli.terminal import SOME_FAILED, UNUSABLE, complain, say
from napari_lungseg.tables import Row


def report_scores(
    rows: list[Row], slices: list[Row], failures: list[str], *, csv: Path | None, per_slice: Path | None, json: Path | None = None
) -> int:
    """Tell failures and scores, write those files that are wanted, and give the exit status."""
    from napari_lungseg.comparison import as_csv, as_json, as_table
    from napari_lungseg.files import write_whole

    for failure in failures:
        complain(failure)
    if not rows:
        return UNUSABLE
    say(as_table(rows))
    if csv is not None:
        write_whole(csv, as_csv(rows))
    if per_slice is not None:
        write_whole(per_slice, as_csv(slices))
    if json is not None:
        write_whole(json, as_json(rows, slices if per_slice is not None else None))
    return SOME_FAILED if failures else 0
