"""``napari-lungseg workspace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_lungseg.cli.terminal import SOME_FAILED

workspace = typer.Typer(help="Rescue what a damaged workspace holds.", rich_markup_mode=None, no_args_is_help=True)


@workspace.callback()
def _group() -> None:
    """Make this a group, though it has one command."""


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
