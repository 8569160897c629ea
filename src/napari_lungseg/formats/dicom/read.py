"""CT in DICOM: from a file or folder to a volume.

Headers are judged before a pixel is read. What cannot be laid out on one straight, even grid is refused and named, never guessed.
"""

from __future__ import annotations

from pathlib import Path

from napari_lungseg.errors import InputError
from napari_lungseg.formats.choice import Candidate, choose
from napari_lungseg.formats.dicom.geometry import stack_volume
from napari_lungseg.formats.dicom.headers import dicom_files, is_dicom, read_headers
from napari_lungseg.formats.dicom.series import Stack, find_stacks
from napari_lungseg.volume import Volume


def holds_dicom(folder: Path) -> bool:
    """Whether any file directly in the folder is DICOM."""
    return any(is_dicom(path) for path in folder.iterdir() if not path.name.startswith("."))


def is_dicom_path(path: Path) -> bool:
    """Whether a path is a DICOM file, or a folder with any."""
    return holds_dicom(path) if path.is_dir() else is_dicom(path)


def single_slices(folder: Path) -> list[Path]:
    """The DICOM files of a folder where there are several and each is a series of its own; else nothing."""
    headers = read_headers(dicom_files(folder))
    if any(int(header.data.get("NumberOfFrames") or 1) > 1 for header in headers):
        return []
    series = [str(header.data.SeriesInstanceUID) for header in headers]
    return [header.path for header in headers] if len(series) > 1 and len(set(series)) == len(series) else []


def stacks_in(path: Path) -> list[Candidate[Stack]]:
    """The stacks of CT slices of a file or of the files in a folder; what is not DICOM is passed over.

    Raises
    ------
    InputError
        When there is none, or a file is damaged.
    """
    files = dicom_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(
            f"There are no DICOM files in the folder {path}; give the folder that holds the slices themselves, or an image file."
        )
    headers = read_headers(files)
    if not headers:
        raise InputError(f"{path} holds a DICOM directory but no images; give the folder that holds the slices themselves.")
    return find_stacks(headers, str(path))


def read_dicom(path: Path, series: str | None = None, *, fill_gaps: bool = False) -> Volume:
    """Read one stack of CT slices.

    Parameters
    ----------
    path : path
        A file, classic or multi-frame, or a folder of files.
    series : str, optional
        Which, by its key or description, where there are several.
    fill_gaps : bool
        Interpolate where slices are missing or unevenly spaced.

    Returns
    -------
    volume : Volume
        (Z, Y, X), slices in the order of their position along the normal of the slices; int16 HU unless the numbers
        need more. A lone slice gets the thickness of ``SpacingBetweenSlices``, or 1 mm, as ITK has it.

    Raises
    ------
    SeriesChoiceError
        When it is not clear which stack is meant.
    UnevenSlicesError
        When slices are missing or unevenly spaced.
    InputError
        When the files are damaged, or hold no CT that can be laid out on one even grid.
    """
    stack = choose(stacks_in(path), series, path).image
    return stack_volume(stack.frames, str(path), fill_gaps=fill_gaps)
