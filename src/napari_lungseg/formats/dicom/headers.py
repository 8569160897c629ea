"""What DICOM files say of themselves: one :class:`Frame` for each slice, from classic files and enhanced multi-frame ones.

Only the attributes named here are looked at; none of them tells who the patient is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from napari_lungseg.errors import InputError, reading

# What is wrong with a file is raised; without a handler, logging would also put it on stderr.
logging.getLogger("pydicom").addHandler(logging.NullHandler())

#: Functional group (PS3.3 C.7.6.16) in which an enhanced file keeps what a classic file has at its top.
_GROUPS = {
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "AcquisitionTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageType": ("CTImageFrameTypeSequence", "FrameType"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
    "StackID": ("FrameContentSequence", "StackID"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
}
#: What may tell apart images at one place of the patient, in the order in which it is tried, and what to call it.
PARTS = {
    "TemporalPositionIdentifier": "time {}",
    "NominalPercentageOfCardiacPhase": "phase {} %",
    "AcquisitionNumber": "acquisition {}",
    "StackID": "stack {}",
    "KVP": "{} kV",
    "ConvolutionKernel": "kernel {}",
    "ImageType": "{}",
    "AcquisitionTime": "acquired at {}",
}
_TAGS = [
    *_GROUPS,
    "Columns",
    "InstanceNumber",
    "Modality",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SharedFunctionalGroupsSequence",
]
_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, eq=False)
class Frame:
    """What one slice says of its place and its numbers; millimetres in LPS.

    Attributes
    ----------
    path : Path
        The file.
    index : int
        Which frame of the file, from 0 on.
    shape : tuple of int
        Rows and columns.
    spacing : tuple of float
        Distance from row to row and from column to column.
    rows, columns : (3,) array
        Unit vectors along a row (to the next column) and along a column (to the next row), at right angles.
    position : (3,) array
        Centre of the first pixel.
    step : float
        Distance to the next slice as the file has it; 0 where it does not say.
    rescale : tuple of float, or None
        Slope and intercept.
    scout : bool
        Whether it calls itself a localizer.
    number : int
        InstanceNumber, 0 where there is none.
    uid : str
        SOPInstanceUID.
    parts : dict
        Values of those of ``PARTS`` that are there.
    """

    path: Path
    index: int
    shape: tuple[int, int]
    spacing: tuple[float, float]
    rows: npt.NDArray[np.float64]
    columns: npt.NDArray[np.float64]
    position: npt.NDArray[np.float64]
    step: float
    rescale: tuple[float, float] | None
    scout: bool
    number: int
    uid: str
    parts: dict[str, str]

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.rows, self.columns)


@dataclass(frozen=True, eq=False)
class Header:
    """The head of a file."""

    path: Path
    data: pydicom.Dataset


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


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files directly in a folder, sorted by name."""
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_dicom(path)]


def read_headers(files: Iterable[Path]) -> list[Header]:
    """Heads of files, without those of DICOM directories (InputError for a damaged one)."""
    headers = []
    for path in files:
        with reading(path, f"{path} is damaged or not a DICOM file; copy or export it again, or take it out of the folder."):
            data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            media = data.file_meta.get("MediaStorageSOPClassUID")
            if media != _DIRECTORY and "SeriesInstanceUID" not in data:
                raise ValueError("the header ends too early")
            # Values are converted when they are first touched.
            for _ in data.iterall():
                pass
        if media != _DIRECTORY:
            headers.append(Header(path, data))
    return headers


def frames_of(header: Header) -> list[Frame]:
    """The slices of a CT file (InputError where it is none, or does not say where they lie)."""
    path, data = header.path, header.data
    with reading(path, f"{path} does not say where its slices lie (size, pixel spacing, position, orientation); export it again."):
        modality = data.get("Modality")
        if modality != "CT":
            raise InputError(f"{path} is a {modality or 'DICOM'} file, not CT; of DICOM only CT slices can be read.")
        # MONOCHROME1 only asks for a picture in which high numbers are dark; HU are HU.
        if data.get("SamplesPerPixel", 1) != 1 or not str(data.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME"):
            raise InputError(f"{path} is a colour picture, not CT numbers; give the original CT series.")
        groups = list(data.get("PerFrameFunctionalGroupsSequence") or ())
        count = int(data.get("NumberOfFrames") or 1)
        if count != max(1, len(groups)):
            raise ValueError("NumberOfFrames")
        shared = list(data.get("SharedFunctionalGroupsSequence") or ())
        return [_frame(path, index, data, [*groups[index : index + 1], *shared]) for index in range(count)]


def _frame(path: Path, index: int, data: pydicom.Dataset, groups: list[pydicom.Dataset]) -> Frame:
    def value(keyword: str) -> Any:
        sequence, inner = _GROUPS[keyword]
        for group in groups:
            for item in group.get(sequence) or ():
                if item.get(inner) is not None:
                    return item.get(inner)
        return data.get(keyword)

    spacing = _numbers(value("PixelSpacing"), 2)
    orientation = _numbers(value("ImageOrientationPatient"), 6)
    rows, columns = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if not np.allclose(lengths, 1.0, atol=1e-2) or abs(rows @ columns) > 1e-3 or min(spacing) <= 0:
        raise InputError(f"{path} has an impossible orientation or pixel spacing; export it again.")
    rows = rows / lengths[0]
    columns = columns - (columns @ rows) * rows
    slope, intercept = value("RescaleSlope"), value("RescaleIntercept")
    found = {keyword: value(keyword) for keyword in PARTS}
    return Frame(
        path,
        index,
        (int(data.Rows), int(data.Columns)),
        (float(spacing[0]), float(spacing[1])),
        rows,
        columns / np.linalg.norm(columns),
        _numbers(value("ImagePositionPatient"), 3),
        abs(float(value("SpacingBetweenSlices") or 0.0)),
        None if slope is None or intercept is None else (float(slope), float(intercept)),
        "LOCALIZER" in (value("ImageType") or ()),
        int(data.get("InstanceNumber") or 0),
        str(data.get("SOPInstanceUID") or path),
        {keyword: _text(one) for keyword, one in found.items() if one is not None and _text(one)},
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "/".join(map(str, value))


def _numbers(value: Any, count: int) -> npt.NDArray[np.float64]:
    values = np.array([float(number) for number in value])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(value)
    return values
