"""What the commands of the terminal share: exit statuses, and how they complain."""

from __future__ import annotations

import typer

#: Exit statuses; 0 is success.
SOME_FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


def complain(text: str) -> int:
    """Say in one line what is wrong; gives the exit status for it."""
    typer.echo(f"napari-lungseg: {' '.join(text.split())}", err=True)
    return UNUSABLE


def memory_sentence(error: MemoryError) -> str:
    """What to say where memory is short; readers name the file themselves."""
    said = str(error)
    return said if said.startswith("There is not") else "There is not enough memory; close other programs, or run fewer jobs."
