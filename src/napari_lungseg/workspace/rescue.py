"""What a damaged journal holds, as files and as a new workspace."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from napari_lungseg.errors import InputError
from napari_lungseg.files import given_path
from napari_lungseg.workspace.journal import JOURNAL
from napari_lungseg.workspace.lock import FolderLock
from napari_lungseg.workspace.masks import export_labels
from napari_lungseg.workspace.recovery import recover
from napari_lungseg.workspace.workspace import Workspace

ENDING = ".nii.gz"
#: Characters that a name of a file may have everywhere.
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Rescued:
    """What came of a rescue.

    Attributes
    ----------
    written : list of (Path, int)
        A file for each mask, and how many slices of it are as they were saved last.
    lost : list of str
        What is lost, or older than what was saved last.
    """

    written: list[tuple[Path, int]]
    lost: list[str]


def rescue(source: str | Path, out: str | Path) -> Rescued:
    """Write each mask of a damaged journal as labels on its image's grid, and all that is sound into a new workspace.

    Parameters
    ----------
    source : path
        A journal, such as one that was put aside, or the folder of a workspace. It is only read.
    out : path
        A folder that is empty or not there; it gets a file for each mask and a new journal.

    Returns
    -------
    Rescued
        Names the files, and what is lost.

    Raises
    ------
    InputError
        When there is no journal, a window has it open, nothing in it is sound, or the folder cannot be used.
    """
    path = _journal(given_path(source).absolute())
    folder = given_path(out).absolute()
    try:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; choose a new folder for what is rescued.")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be used ({error.strerror}); choose another one for what is rescued.") from error
    new = folder / JOURNAL
    with _nobody_writes(path):
        try:
            lost = [one.text for one in recover(path, new)]
        except (OSError, sqlite3.Error) as error:
            new.unlink(missing_ok=True)
            raise InputError(f"{path} cannot be rescued into {folder} ({getattr(error, 'strerror', None) or error}).") from error
    written = []
    with Workspace(folder) as workspace:
        cases = workspace.cases()
        for summary in cases:
            case = summary.case
            saved = workspace.load(case)
            if saved is not None:
                stem = _NOT_IN_NAMES.sub("_", case.name).strip("._")[:80] or "image"
                name = export_labels(workspace, case, folder / f"{stem}-{case.image[:8]}{case.content[len(case.image) :]}{ENDING}")
                written.append((name, summary.saved - len(saved.older)))
    if not cases:
        new.unlink()
        raise InputError(f"Nothing in {path} can be rescued: it holds no image that is sound.")
    return Rescued(written, lost)


def _journal(source: Path) -> Path:
    if not source.exists():
        raise InputError(f"{source} does not exist; give the folder of a workspace, or a journal.")
    path = source / JOURNAL if source.is_dir() else source
    if not path.is_file():
        aside = sorted(one.name for one in source.glob("journal.damaged-*.sqlite")) if source.is_dir() else []
        raise InputError(f"{source} holds no journal; give the file" + (f", such as {aside[-1]}." if aside else " of one."))
    return path


@contextmanager
def _nobody_writes(path: Path) -> Iterator[None]:
    """Keep others from writing to a journal that is the one of its folder."""
    if path.name != JOURNAL:
        yield
        return
    lock = FolderLock(path.parent)
    try:
        mine = lock.take("rescue")
    except (OSError, NotImplementedError):
        mine = True  # a folder that cannot be written, by nobody
    if not mine:
        raise InputError(f"The workspace {path.parent} is open elsewhere ({lock.holder()}); close that window first.")
    try:
        yield
    finally:
        lock.give_back()
