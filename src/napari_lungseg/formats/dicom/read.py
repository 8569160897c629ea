"""CT in DICOM: from a file or folder to a volume.

Headers are judged before a pixel is read. What cannot be laid out on one straight, even grid is refused and named, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_lungseg.errors import InputError
from napari_lungseg.formats.choice import Candidate, UnevenSlicesError, choose
from napari_lungseg.formats.dicom.finding import DIRECTORY, dicom_files
from napari_lungseg.formats.dicom.geometry import stack_volume
from napari_lungseg.formats.dicom.headers import Header, read_header
from napari_lungseg.formats.dicom.pixels import read_radiograph
from napari_lungseg.formats.dicom.series import LeftOut, Stack, find_stacks, join_series, reason
from napari_lungseg.formats.mistaken import told_of
from napari_lungseg.volume import Volume, scaling


def single_slices(folder: Path) -> list[Path]:
    """The DICOM files of a folder where there are several and each is a series of its own; else nothing."""
    headers, _ = _headers(dicom_files(folder))
    if any(int(header.data.get("NumberOfFrames") or 1) > 1 for header in headers) or join_series(headers):
        return []
    series = {header.series for header in headers}
    return [header.path for header in headers] if len(headers) > 1 and len(series) == len(headers) else []


def stacks_in(path: Path, files: Sequence[Path] | None = None) -> list[Candidate[Stack]]:
    """The stacks of CT slices, or the radiographs, of a file, of the files in a folder, or of those files of it that are given.

    Of a folder without DICOM files those in the folders below count, and for the directory of a medium (DICOMDIR) the folder that it is in.

    What is neither is left out, and told in the notes of each stack.

    Raises
    ------
    InputError
        When there is none, or a slice is damaged.
    """
    if files is None:
        is_directory = path.name.upper() == DIRECTORY and path.is_file()
        folder = path.parent if is_directory else path
        files = dicom_files(folder) if folder.is_dir() else [path]
    if not files:
        raise InputError(
            f"There are no DICOM files in {path} or the folders in it; give the folder that holds the slices, or an image file."
            + told_of(path)
        )
    headers, left = _headers(files)
    if not headers:
        raise InputError(f"{path} holds a DICOM directory but no images; give the folder that holds the slices themselves.")
    return find_stacks(headers, str(path), left)


def _headers(files: Sequence[Path]) -> tuple[list[Header], LeftOut]:
    """Heads of those files that are no DICOM directories and have one; and why others have none (InputError where none has)."""
    headers: list[Header] = []
    left: LeftOut = {}
    first: InputError | None = None
    for path in files:
        try:
            header = read_header(path)
        except InputError as error:
            first = first or error
            left[path] = reason(error, path)
        else:
            headers += [header] if header is not None else []
    if first is not None and not headers:
        raise first
    return headers, left


def read_dicom(path: Path, series: str | None = None, *, fill_gaps: bool = False, files: Sequence[Path] | None = None) -> Volume:
    """Read one stack of CT slices, or one radiograph.

    Parameters
    ----------
    path : path
        A file, classic or multi-frame, or a folder of files.
    series : str, optional
        Which, by its key or description, where there are several.
    fill_gaps : bool
        Interpolate where slices are missing or unevenly spaced.
    files : sequence of path, optional
        Those files of the folder that are meant.

    Returns
    -------
    volume : Volume
        (Z, Y, X), slices in the order of their position along the normal of the slices; int16 HU unless the numbers
        need more. A lone slice gets the thickness of ``SpacingBetweenSlices``, or 1 mm, as ITK has it. Radiographs are (Y, X) of
        arbitrary numbers, high ones bright, without a spacing, as what they show lies at unknown distances from the detector.

    Raises
    ------
    SeriesChoiceError
        When it is not clear which stack is meant.
    UnevenSlicesError
        When slices are missing or unevenly spaced.
    InputError
        When the files are damaged, or hold nothing that can be laid out on one even grid.
    """
    stack = choose(stacks_in(path, files), series, path).image
    if stack.is_radiograph:
        return Volume(read_radiograph(stack.frames[0]), scaling((1.0, 1.0)), spacing_known=False, oriented=False, notes=stack.notes)
    try:
        volume = stack_volume(stack.frames, str(path), fill_gaps=fill_gaps)
    except UnevenSlicesError as error:
        raise UnevenSlicesError(" ".join((str(error), *stack.notes))) from error
    return replace(volume, notes=(*stack.notes, *volume.notes))
