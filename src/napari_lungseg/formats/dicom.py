"""CT in DICOM: one file per slice. Headers are judged with pydicom, pixels decoded by GDCM (in SimpleITK).

What cannot be laid out on one straight, even grid is refused and named, never guessed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk

from napari_lungseg.errors import InputError
from napari_lungseg.formats.itk import quiet
from napari_lungseg.formats.stack import Slice, check_alike, check_stack
from napari_lungseg.preprocess import guess_unit
from napari_lungseg.volume import Affine, Array, Volume

# What is wrong with a file is raised; without a handler, logging would also put it on stderr.
logging.getLogger("pydicom").addHandler(logging.NullHandler())

_TAGS = [
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "Modality",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SpacingBetweenSlices",
]
_DIRECTORY = "1.2.840.10008.1.3.10"


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its mark, or says so by its ending."""
    if not path.is_file():
        return False
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def holds_dicom(folder: Path) -> bool:
    """Whether any file directly in the folder is DICOM."""
    return any(is_dicom(path) for path in folder.iterdir() if not path.name.startswith("."))


def single_slices(folder: Path) -> list[Path]:
    """The DICOM files of a folder where there are several and each is a series of its own; else nothing."""
    headers = _headers(_files(folder))
    series = [str(header.SeriesInstanceUID) for _, header in headers]
    return [path for path, _ in headers] if len(series) > 1 and len(set(series)) == len(series) else []


def read_file(path: Path) -> Volume:
    """Read one slice as a volume of shape (1, Y, X)."""
    return read_series([path], str(path))


def read_folder(folder: Path) -> Volume:
    """Read the one series of a folder; files that are not DICOM are passed over."""
    files = _files(folder)
    if not files:
        raise InputError(
            f"There are no DICOM files in the folder {folder}; give the folder that holds the slices themselves, or an image file."
        )
    return read_series(files, str(folder))


def read_series(files: Sequence[Path], name: str) -> Volume:
    """Read the files of one CT series, in any order.

    Parameters
    ----------
    files : sequence of path
        One slice each.
    name : str
        What to call them in messages.

    Returns
    -------
    volume : Volume
        (Z, Y, X), slices in the order of their position along the normal of the slices; int16 HU unless the numbers
        need more. A lone slice gets the thickness of ``SpacingBetweenSlices``, or 1 mm, as ITK has it.

    Raises
    ------
    InputError
        When the files are not one even, straight stack of grey CT slices.
    """
    headers = _headers(files)
    if not headers:
        raise InputError(f"{name} holds a DICOM directory but no images; give the folder that holds the slices themselves.")
    _check_one_series(headers, name)
    slices = [_slice(path, header) for path, header in headers]
    check_alike(slices, name)
    normal = slices[0].normal
    slices.sort(key=lambda s: float(s.position @ normal))
    step = check_stack(slices, name)
    first = slices[0]
    affine: Affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = first.columns * first.spacing[0]
    affine[:3, 2] = first.rows * first.spacing[1]
    affine[:3, 3] = first.position
    array = _pixels(slices)
    return Volume(array, affine, "HU" if all(s.rescaled for s in slices) else guess_unit(array))


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_dicom(path)]


def _headers(files: Iterable[Path]) -> list[tuple[Path, pydicom.Dataset]]:
    headers: list[tuple[Path, pydicom.Dataset]] = []
    for path in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            media = header.file_meta.get("MediaStorageSOPClassUID")
            if media != _DIRECTORY and "SeriesInstanceUID" not in header:
                raise ValueError("the header ends too early")
        except Exception as error:  # pydicom raises whatever the damage makes it stumble over
            raise InputError(f"{path} is damaged or not a DICOM file; copy or export it again, or take it out of the folder.") from error
        if media != _DIRECTORY:
            headers.append((path, header))
    return headers


def _check_one_series(headers: list[tuple[Path, pydicom.Dataset]], name: str) -> None:
    series: dict[str, list[pydicom.Dataset]] = {}
    for _, header in headers:
        series.setdefault(str(header.SeriesInstanceUID), []).append(header)
    if len(series) == 1:
        return
    lines = []
    for members in series.values():
        one = members[0]
        lines.append(
            f"series {one.get('SeriesNumber', '?')}: {len(members)} {one.get('Modality', '?')} file{'s' * (len(members) > 1)} "
            f"of {one.get('Columns', '?')} x {one.get('Rows', '?')}"
        )
    raise InputError(f"{name} holds {len(series)} series ({'; '.join(lines)}); put the one that is meant into a folder of its own.")


def _slice(path: Path, header: pydicom.Dataset) -> Slice:
    modality = header.get("Modality")
    if modality != "CT":
        raise InputError(f"{path} is a {modality or 'DICOM'} file, not CT; of DICOM only CT slices can be read.")
    if "LOCALIZER" in (header.get("ImageType") or ()):
        raise InputError(f"{path} is a scout view (localizer), not a CT slice; take it out.")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise InputError(f"{path} is a multi-frame DICOM file, which cannot be read yet; export it as one file per slice, or as NIfTI.")
    if header.get("SamplesPerPixel", 1) != 1 or header.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
        raise InputError(f"{path} is a colour or inverted picture, not CT numbers; give the original CT series.")
    try:
        spacing = _numbers(header, "PixelSpacing", 2)
        orientation = _numbers(header, "ImageOrientationPatient", 6)
        position = _numbers(header, "ImagePositionPatient", 3)
        shape = (int(header.Rows), int(header.Columns))
        step = float(header.get("SpacingBetweenSlices") or 0.0)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} does not say where its slice lies (size, pixel spacing, position, orientation); export it again."
        ) from error
    rows, columns = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if not np.allclose(lengths, 1.0, atol=1e-2) or abs(rows @ columns) > 1e-3 or min(spacing) <= 0:
        raise InputError(f"{path} has an impossible orientation or pixel spacing; export it again.")
    rows = rows / lengths[0]
    columns = columns - (columns @ rows) * rows
    return Slice(
        path,
        shape,
        (float(spacing[0]), float(spacing[1])),
        rows,
        columns / np.linalg.norm(columns),
        position,
        abs(step),
        header.get("RescaleSlope") is not None and header.get("RescaleIntercept") is not None,
    )


def _numbers(header: pydicom.Dataset, tag: str, count: int) -> npt.NDArray[np.float64]:
    values = np.array([float(v) for v in header[tag].value]) if tag in header else np.array([])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(tag)
    return values


def _pixels(slices: list[Slice]) -> Array:
    array: Array = np.empty((len(slices), *slices[0].shape), dtype=np.int16)
    for index, one in enumerate(slices):
        plane = _plane(one)
        wanted = np.promote_types(array.dtype, _smallest(plane))
        array = array if wanted == array.dtype else array.astype(wanted)
        array[index] = plane
    return array


def _smallest(plane: Array) -> np.dtype[Any]:
    """int16 where the numbers fit: GDCM gives int32 for 16-bit files although HU hardly need it."""
    if plane.dtype.kind == "f":
        return np.dtype(np.float32)
    limits = np.iinfo(np.int16)
    return np.dtype(np.int16 if plane.min() >= limits.min and plane.max() <= limits.max else np.int32)


def _plane(one: Slice) -> Array:
    """Pixels of a slice, rescaled by the slope and intercept of its own file."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(one.path))
    try:
        with quiet():
            plane: Array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise InputError(f"The pixels of {one.path} are damaged, cut off or packed in an unknown way; copy or export it again.") from error
    if plane.size != one.shape[0] * one.shape[1]:
        raise InputError(f"{one.path} has pixels of shape {plane.shape}, not one grey slice; export it again.")
    return plane.reshape(one.shape)
