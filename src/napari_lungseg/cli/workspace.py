"""``napari-lungseg workspace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_lungseg.cli.scores import report_scores
from napari_lungseg.cli.terminal import SOME_FAILED, UNUSABLE, complain, say

workspace = typer.Typer(
    help="Compare readers, make their consensus, and rescue what a damaged workspace holds.", rich_markup_mode=None, no_args_is_help=True
)
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A reader's workspace.")]


@workspace.command()
def agreement(
    first: Folder,
    second: Folder,
    csv: Annotated[Path | None, typer.Option(help="Write the scores to this CSV file.")] = None,
    per_slice: Annotated[Path | None, typer.Option(help="Write the scores of each slice to this CSV file.")] = None,
    tolerance_mm: Annotated[float, typer.Option(help="Distance, in mm, that the surface Dice (nsd) allows.")] = 3.0,
) -> int:
    """Tell how far two readers agree, on the slices that both have reviewed; the second one's mask counts as the reference."""
    from napari_lungseg.comparison import case_rows
    from napari_lungseg.errors import InputError
    from napari_lungseg.files import new_path
    from napari_lungseg.readers import compare_readings, find_reading, shared_cases
    from napari_lungseg.workspace import Workspace

    for path in (csv, per_slice):
        if path is not None:
            new_path(path)
    rows, slices, failures = [], [], []
    with Workspace(first, for_reading=True) as one, Workspace(second, for_reading=True) as other:
        for case in shared_cases([one, other]):
            ours, theirs = find_reading(one, case.content), find_reading(other, case.content)
            assert ours is not None
            assert theirs is not None
            try:
                found = compare_readings(ours, theirs, tolerance_mm)
            except InputError as error:
                failures.append(str(error))
                continue
            rows += case_rows(case.name, found.scores)
            for label, scores in found.slices.items():
                for index, score in scores.items():
                    who = ["first"] * (index in ours.blind) + ["second"] * (index in theirs.blind)
                    slices += [{**row, "slice": index, "read_blind": " ".join(who)} for row in case_rows(case.name, {label: score})]
            blind = len(ours.blind.keys() & theirs.blind.keys() & set(found.compared))
            told = f", {blind} of them without the model's mask" if blind else ""
            say(f"{case.name}: {len(found.compared)} of {case.slices} slices were reviewed by both{told}.")
    return report_scores(rows, slices, failures, csv=csv, per_slice=per_slice)


@workspace.command()
def consensus(
    readers: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Two workspaces or more; the first one decides ties.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder, to be chosen as a workspace.")],
    method: Annotated[str, typer.Option(help="staple or majority: how three readers and more are brought together.")] = "staple",
) -> int:
    """Make one mask of those of several readers, in a workspace of its own; slices on which they are divided are flagged there."""
    from contextlib import ExitStack

    from napari_lungseg.readers import make_consensus
    from napari_lungseg.workspace import Workspace

    with ExitStack() as stack:
        opened = [stack.enter_context(Workspace(folder, for_reading=True)) for folder in readers]
        report = make_consensus(opened, stack.enter_context(Workspace(output)), method)
    for name, slices, divided in report.made:
        say(f"{name}: {slices} slices, of which {divided} are flagged, as the readers are divided.")
    for text in report.left_out:
        complain(text)
    if report.made:
        say(f"{output} can be chosen as a workspace.")
    return (SOME_FAILED if report.made else UNUSABLE) if report.left_out else 0


@workspace.command()
def rescue(
    source: Annotated[Path, typer.Argument(metavar="FOLDER|FILE", help="A workspace, or a journal that was put aside.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
) -> int:
    """Write all masks that are sound as labels (.nii.gz), with a new journal beside them, and list what is lost."""
    from napari_lungseg.workspace.rescue import rescue

    rescued = rescue(source, output)
    for path, slices in rescued.written:
        typer.echo(f"{path}: {slices} slice{'' if slices == 1 else 's'} as saved last")
    typer.echo(f"{output} can be chosen as a workspace.")
    for text in rescued.lost:
        typer.echo(f"Not as it was: {text}", err=True)
    return SOME_FAILED if rescued.lost else 0
