"""What DICOM files say of themselves: one :class:`Frame` for each slice, from classic files and enhanced multi-frame ones.

Only the attributes named here are looked at; none of them tells who the patient is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydicom

from napari_lungseg.errors import InputError, reading
from napari_lungseg.formats.dicom.part10 import Stored, opened, transfer_syntax

# What is wrong with a file is raised; without a handler, logging would also put it on stderr.
logging.getLogger("pydicom").addHandler(logging.NullHandler())

#: Functional group (PS3.3 C.7.6.16) in which an enhanced file keeps what a classic file has at its top.
_GROUPS = {
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "AcquisitionTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "GantryDetectorTilt": ("CTAcquisitionDetailsSequence", "GantryDetectorTilt"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageType": ("CTImageFrameTypeSequence", "FrameType"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "RescaleType": ("PixelValueTransformationSequence", "RescaleType"),
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
#: What tells a file's series from others.
_ABOUT = ("SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "SOPClassUID")
#: What says where a slice lies.
_PLACE = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
_RESCALE = ("RescaleSlope", "RescaleIntercept")
_TAGS = [
    *_GROUPS,
    *_ABOUT,
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "InstanceNumber",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "Rows",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SharedFunctionalGroupsSequence",
]
#: Elements of the pixels' group with floating point numbers (FloatPixelData, DoubleFloatPixelData).
_FLOATS = (b"\x08\x00", b"\x00\x08", b"\x09\x00", b"\x00\x09")
_DIRECTORY = "1.2.840.10008.1.3.10"
#: CT, enhanced CT, and legacy converted enhanced CT.
_CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
#: How the classes of computed and digital radiographs begin.
_RADIOGRAPHS = "1.2.840.10008.5.1.4.1.1.1"
_ALLOCATED = (8, 12, 16, 32)
#: Cosine of what rows and columns, rounded to few digits, may be away from a right angle.
_RIGHT_ANGLE = 1e-3


@dataclass(frozen=True, eq=False)
class Frame:
    """What one slice says of its place and its numbers; millimetres in LPS.

    Attributes
    ----------
    stored : Stored
        The file, and how its pixels are stored.
    index : int
        Which frame of the file, from 0 on.
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
    measured : {"HU", "arbitrary", "unsaid"}
        What the rescaled numbers are.
    doubt : str
        What was decided for it that the file leaves open; else empty.
    is_inverted : bool
        Whether high numbers are dark in a radiograph.
    tilt : float
        Of the gantry as the file has it, in degrees; 0 where it does not say.
    """

    stored: Stored
    index: int
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
    measured: Literal["HU", "arbitrary", "unsaid"] = "unsaid"
    doubt: str = ""
    is_inverted: bool = False
    tilt: float = 0.0

    @property
    def path(self) -> Path:
        """The file."""
        return self.stored.path

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.stored.shape

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.rows, self.columns)


@dataclass(frozen=True, eq=False)
class Header:
    """The head of a file.

    Attributes
    ----------
    path : Path
        The file.
    data : Dataset
        The elements of ``_TAGS`` that it has.
    syntax : str
        Its transfer syntax.
    place : int
        Where its pixels begin; -1 where it has none.
    series, study, number, description, modality, kind : str
        SeriesInstanceUID, StudyInstanceUID, SeriesNumber, SeriesDescription, Modality and SOPClassUID; empty where missing.
    """

    path: Path
    data: pydicom.Dataset
    syntax: str
    place: int
    series: str
    study: str
    number: str
    description: str
    modality: str
    kind: str

    @property
    def is_ct(self) -> bool:
        """Whether it is CT, by its modality or, where that is missing, by its class."""
        return self.modality == "CT" or (not self.modality and self.kind in _CT)

    @property
    def is_radiograph(self) -> bool:
        """Whether it is a projection."""
        return self.modality in ("CR", "DX") or (not self.modality and self.kind.startswith(_RADIOGRAPHS))


def read_header(path: Path) -> Header | None:
    """Head of a file; None for a DICOM directory (InputError for a damaged one)."""
    with reading(path, f"{path} is damaged or not a DICOM file; copy or export it again, or take it out of the folder."):
        with opened(path) as stream:
            data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
            syntax, place = transfer_syntax(data), stream.tell()
            start = stream.read(4)
            has_pixels = start[:2] in (b"\xe0\x7f", b"\x7f\xe0")
        if data.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return None
        if has_pixels and start[2:] in _FLOATS:
            raise InputError(f"{path} has pixels of floating point numbers, which are not read; export it with whole numbers.")
        texts = [_text(data.get(keyword) or "") for keyword in _ABOUT]
        if not (has_pixels or texts[_ABOUT.index("Modality")]):
            raise ValueError("the header ends too early")
        if not texts[0].isprintable():
            # A damaged number of the series would set a slice off from its stack.
            texts[0] = ""
        texts[_ABOUT.index("Modality")] = texts[_ABOUT.index("Modality")].upper()
        _whole(data, "SeriesNumber", path)
        return Header(path, data, syntax, place if has_pixels else -1, *texts)


def frames_of(header: Header) -> list[Frame]:
    """The slices of a CT file (InputError where it is none, or does not say where they lie)."""
    path, data = header.path, header.data
    with reading(path, f"{path} does not say where its slices lie (size, pixel spacing, position, orientation); export it again."):
        if not header.is_ct:
            raise not_ct(header)
        if data.get("ModalityLUTSequence"):
            raise InputError(f"{path} gives its numbers by a table (Modality LUT), which is not read; export it with slope and intercept.")
        stored = _stored(header)
        groups = list(data.get("PerFrameFunctionalGroupsSequence") or ())
        if stored.frames != max(1, len(groups)):
            raise ValueError("NumberOfFrames")
        shared = list(data.get("SharedFunctionalGroupsSequence") or ())
        return [_frame(stored, index, data, [*groups[index : index + 1], *shared]) for index in range(stored.frames)]


def not_ct(header: Header) -> InputError:
    """What to say of a file of another modality."""
    return InputError(f"{header.path} is a {header.modality or 'DICOM'} file, not CT; of DICOM only CT and radiographs (CR, DX) are read.")


def radiograph_of(header: Header) -> Frame:
    """The only frame of a radiograph, which lies nowhere (InputError where it is none)."""
    path, data = header.path, header.data
    with reading(path):
        stored = _stored(header)
        if stored.frames > 1:
            raise InputError(f"{path} holds {stored.frames} frames, not one radiograph; export the one that is meant.")
        x, y, z = np.eye(3)
        number = _whole(data, "InstanceNumber", path)
        is_inverted = data.get("PhotometricInterpretation") == "MONOCHROME1"
        return Frame(stored, 0, (1.0, 1.0), x, y, 0 * z, 0.0, None, False, number, str(path), {}, is_inverted=is_inverted)


def _stored(header: Header) -> Stored:
    path, data = header.path, header.data
    if header.place < 0:
        raise InputError(f"{path} is cut off, or has no pixels; copy or export it again.")
    # MONOCHROME1 only asks for a picture in which high numbers are dark; HU are HU.
    if data.get("SamplesPerPixel", 1) != 1 or not str(data.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME"):
        raise InputError(f"{path} is a colour picture, not grey numbers; give the original series.")
    allocated = int(data.get("BitsAllocated") or 16)
    bits = int(data.get("BitsStored") or allocated)
    shape = int(data.Rows), int(data.Columns)
    frames = int(data.get("NumberOfFrames") or 1)
    if allocated not in _ALLOCATED or not 0 < bits <= allocated or min(shape) < 1 or frames < 1:
        raise InputError(f"{path} has an impossible size: {frames} x {shape[0]} x {shape[1]} pixels of {bits} in {allocated} bits.")
    sign = data.get("PixelRepresentation")
    if sign not in (None, 0, 1):
        raise InputError(f"{path} has an impossible PixelRepresentation ({sign}); copy or export it again.")
    high = data.get("HighBit")
    shift = int(high) + 1 - bits if high is not None and bits <= int(high) + 1 <= allocated else 0
    return Stored(path, header.syntax, header.place, allocated, bits, sign if sign is None else sign == 1, shift, frames, shape)


def _frame(stored: Stored, index: int, data: pydicom.Dataset, groups: list[pydicom.Dataset]) -> Frame:
    path = stored.path

    def value(keyword: str, read: Callable[[pydicom.Dataset, str], Any] = pydicom.Dataset.get) -> Any:
        sequence, inner = _GROUPS[keyword]
        for group in groups:
            for item in group.get(sequence) or ():
                if item.get_item(inner) is not None and (found := read(item, inner)) is not None:
                    return found
        return read(data, keyword)

    if lacking := [keyword for keyword in _PLACE if value(keyword) in (None, "", [])]:
        raise InputError(f"{path} does not say where its slices lie: it lacks {' and '.join(lacking)}; export it again.")
    spacing = _numbers(value("PixelSpacing", _decimals), 2)
    orientation = _numbers(value("ImageOrientationPatient", _decimals), 6)
    rows, columns = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if not np.allclose(lengths, 1.0, atol=1e-2) or abs(rows @ columns) > _RIGHT_ANGLE or min(spacing) <= 0:
        raise InputError(f"{path} has an impossible orientation or pixel spacing; export it again.")
    rows = rows / lengths[0]
    columns = columns - (columns @ rows) * rows
    found = {keyword: value(keyword) for keyword in PARTS}
    slope, intercept = (None if one is None else one[0] for one in (value(keyword, _decimals) for keyword in _RESCALE))
    if not np.isfinite([slope or 0.0, intercept or 0.0]).all():
        raise InputError(f"{path} has an impossible RescaleSlope or RescaleIntercept ({slope}, {intercept}); export it again.")
    rescale, doubt = _rescale(slope, intercept)
    return Frame(
        stored,
        index,
        (float(spacing[0]), float(spacing[1])),
        rows,
        columns / np.linalg.norm(columns),
        _numbers(value("ImagePositionPatient", _decimals), 3),
        abs(value("SpacingBetweenSlices", _unneeded)),
        rescale,
        "LOCALIZER" in (value("ImageType") or ()),
        _whole(data, "InstanceNumber", path),
        str(data.get("SOPInstanceUID") or path),
        {keyword: _text(one) for keyword, one in found.items() if one is not None and _text(one)},
        _measured(intercept, str(value("RescaleType") or "")),
        doubt,
        tilt=value("GantryDetectorTilt", _unneeded),
    )


def _rescale(slope: float | None, intercept: float | None) -> tuple[tuple[float, float] | None, str]:
    """Slope and intercept where there is any, and what is doubtful of them; a slope of 0 would make all numbers one."""
    if slope is None and intercept is None:
        return None, ""
    doubt = "" if slope else "RescaleSlope is missing or 0; it was taken as 1"
    return (slope or 1.0, intercept or 0.0), doubt


def _measured(intercept: float | None, kind: str) -> Literal["HU", "arbitrary", "unsaid"]:
    """What numbers mean by RescaleType; where that is missing those of CT are HU (PS3.3 C.11.1.1.2), if the offset is there."""
    if kind.upper() not in ("", "HU", "US") and not kind.upper().startswith("HOUNSFIELD"):
        return "arbitrary"
    return "unsaid" if intercept is None or kind.upper() == "US" else "HU"


def _decimals(data: pydicom.Dataset, keyword: str) -> list[float] | None:
    """Numbers of an element, also those with a decimal comma; None where there are none."""
    found = data.get(keyword)
    if found is None or found == "":
        return None
    several = found if hasattr(found, "__iter__") and not isinstance(found, str) else [found]
    return [float(one.replace(",", ".") if isinstance(one, str) else one) for one in several]


def _unneeded(data: pydicom.Dataset, keyword: str) -> float:
    """A number that nothing depends on; 0 where there is none that can be read."""
    try:
        found = _decimals(data, keyword)
    except (TypeError, ValueError):
        return 0.0
    return found[0] if found and np.isfinite(found[0]) else 0.0


def _whole(data: pydicom.Dataset, keyword: str, path: Path) -> int:
    """A number of a series or slice; 0 where there is none (InputError where it is no number)."""
    try:
        return int(data.get(keyword) or 0)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} has an impossible {keyword}, which should be a whole number; export it again.") from error


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "/".join(map(str, value))


def _numbers(value: list[float] | None, count: int) -> npt.NDArray[np.float64]:
    values = np.array(value, dtype=np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(value)
    return values
