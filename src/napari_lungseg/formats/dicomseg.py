"""DICOM Segmentation objects, by way of highdicom (extra ``dicom-seg``).

What is written lies on the slices of the series that was segmented and names them, so that viewers show it there. Unless it is asked
for, it says nothing of the patient: name, number, birth date and the like stay empty, which the standard allows (type 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import SegmentationStorage

from napari_lungseg.errors import InputError, reading, without_warnings
from napari_lungseg.formats.choice import choose
from napari_lungseg.formats.dicom import is_dicom_path, stacks_in
from napari_lungseg.formats.dicom.headers import Frame
from napari_lungseg.formats.dicom.part10 import opened
from napari_lungseg.formats.segnrrd import STRUCTURES, lung_names
from napari_lungseg.volume import Array, Volume

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept

#: What may follow the frames, in bytes; each eight zeros there are an element to pydicom.
_BEHIND = 1 << 20
#: All that is read of the series, so that nothing else of it can get into the new file: what its slices are and where they lie, and
#: the numbers by which they are found.
_NEEDED = [
    "BitsAllocated",
    "Columns",
    "FrameOfReferenceUID",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "InstanceNumber",
    "Modality",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PixelSpacing",
    "PositionReferenceIndicator",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SpacingBetweenSlices",
    "StudyInstanceUID",
]
#: What must be there and may be empty (type 2 of the patient and general study modules, PS3.3 C.7.1.1 and C.7.2.1).
_EMPTY = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
#: What else of the patient and the study is taken over where it is asked for, so that an archive files both alike.
_OF_PATIENT = ("IssuerOfPatientID", "OtherPatientIDs", "StudyDescription")
#: Number of the new series; far from those of scanners, as other tools have it.
_SERIES_NUMBER = 300
#: Label Map Segmentation Storage (PS3.4 B.5), which pydicom 3.0 has no name for.
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
#: The probability from which on a voxel counts.
_HALF = 0.5
#: A volume has no more slices than this.
_MOST_SLICES = 10_000
#: How many times smaller than its pixels a file can be at most; empty frames, each with a header of its own, pack well.
_MOST_PACKED = 10_000
#: Of labels that cannot be written so many are named.
_MOST_NAMED = 3
#: Slices may lie so far outside the mask's outermost voxel centres, in voxels.
_OVERHANG = 0.51


@dataclass(frozen=True)
class SegOrigin:
    """Say where a DICOM-SEG comes from.

    Attributes
    ----------
    with_patient : bool
        Whether patient and study are described as in the series.
    series_uid, instance_uid : str
        Its own numbers; new ones where they are empty.
    model, weights_sha256 : str
        What made the mask, where that is known.
    is_automatic : bool
        Whether no person had a hand in it.
    """

    with_patient: bool = False
    series_uid: str = ""
    instance_uid: str = ""
    model: str = ""
    weights_sha256: str = ""
    is_automatic: bool = False


def is_dicom_seg(path: Path) -> bool:
    """Whether a DICOM file is a segmentation (InputError for a damaged one)."""
    with reading(path, f"{path} is damaged or not a DICOM file; copy or export it again."):
        with opened(path) as stream:
            head = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["SOPClassUID"], force=True)
        return head.get("SOPClassUID") in (SegmentationStorage, _LABEL_MAP)


def read_dicom_seg(path: Path) -> tuple[Volume, dict[int, str]]:
    """Read labels, numbered as the segments are, and their names; slices that the file leaves out are empty.

    Where segments overlap the one of the higher number is in front; of probabilities (a fractional segmentation), what is one half
    and more counts.

    Raises
    ------
    InputError
        When highdicom is not installed, the file is damaged, or its slices are no volume.
    """
    _check_highdicom()
    from highdicom.seg import segread

    with reading(path, f"{path} is damaged, or no DICOM-SEG of a volume; export it again, or as .seg.nrrd."):
        with opened(path, _room(path)) as stream:
            file = segread(stream)
        geometry = file.get_volume_geometry()
        # Slices that the file leaves out are filled in: two that lie far apart would make any number of them.
        if geometry is not None and geometry.spatial_shape[0] > _MOST_SLICES:
            raise InputError(f"{path} has slices so far apart that {geometry.spatial_shape[0]} would lie between; export it again.")
        names = {number: str(file.get_segment_description(number).segment_label) for number in file.segment_numbers}
        if file.segmentation_type.value == "FRACTIONAL":
            found = file.get_volume()
            labels = np.zeros(found.array.shape[:3], np.uint8)
            for place, number in enumerate(file.segment_numbers):
                labels[found.array[..., place] >= _HALF] = number
        else:
            found = file.get_volume(combine_segments=True, skip_overlap_checks=True)
            labels = found.array
    return Volume(labels, found.affine), names


def _room(path: Path) -> int:
    """Give how long a file is once it is inflated, by what it says of its frames (ValueError where it cannot hold these)."""
    with opened(path) as stream:
        head = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["BitsAllocated", "Columns", "NumberOfFrames", "Rows"])
        start, there = stream.tell(), path.stat().st_size
    pixels = head.Rows * head.Columns * int(head.NumberOfFrames) * head.BitsAllocated // 8
    if pixels > _MOST_PACKED * there:
        raise ValueError(f"{pixels} bytes of pixels promised in {there}")
    return start + pixels + _BEHIND


def _check_highdicom() -> None:
    if find_spec("highdicom") is None:
        raise InputError("DICOM-SEG needs highdicom, which is not installed; install it with: pip install 'napari-lungseg[dicom-seg]'")


def check_source(source: Path | None) -> Path:
    """The DICOM series on whose slices a mask is to lie.

    Raises
    ------
    InputError
        When it is none, or highdicom is not installed.
    """
    _check_highdicom()
    if source is None:
        raise InputError("DICOM-SEG needs the DICOM series that was segmented; give it, or use .seg.nrrd.")
    if not is_dicom_path(source):
        raise InputError(f"DICOM-SEG is made of DICOM series only, which {source} is not; use .seg.nrrd.")
    return source


def write_dicom_seg(
    volume: Volume,
    path: Path,
    source: Path | None,
    series: str | None = None,
    names: Mapping[int, str] | None = None,
    origin: SegOrigin | None = None,
) -> None:
    """Write lungs or their lobes, each as a segment with its code.

    Parameters
    ----------
    volume : Volume
        Labels; anywhere on or around the slices of the series. Where their voxels are not the pixels of the series (a tilted gantry
        sheared back, gaps filled in), the nearest is taken.
    path : Path
        Where to.
    source : Path
        File or folder of the series.
    series : str, optional
        Which, where there are several.
    names : mapping, optional
        What the labels are; by default 1 is the right lung and 2 the left.
    origin : SegOrigin, optional
        Where it comes from; by default it says nothing of the patient, and that a person may have corrected it.

    Raises
    ------
    InputError
        When the labels do not cover the slices, hold something else than lungs and lobes, or the series lacks what the standard asks for.
    """
    source, origin = check_source(source), origin or SegOrigin()
    from highdicom import PlanePositionSequence
    from highdicom.seg import Segmentation

    labels, segments = _known_alone(volume, lung_names() if names is None else names)
    if not volume.spacing_known:
        raise InputError("The mask's place in the patient is not known; segment the DICOM series itself.")
    frames = choose(stacks_in(source), series, source).image.frames
    planes = [_on_frame(volume, labels, frame, source) for frame in frames]
    datasets = {frame.path: _head(frame.path, with_patient=origin.with_patient) for frame in frames}
    try:
        with without_warnings():
            made = Segmentation(
                list(datasets.values()),
                np.stack(planes),
                "BINARY",
                [_description(number, name, origin) for number, name in enumerate(segments, 1)],
                series_instance_uid=origin.series_uid or pydicom.uid.generate_uid(),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=origin.instance_uid or pydicom.uid.generate_uid(),
                instance_number=1,
                manufacturer="napari-lungseg",
                manufacturer_model_name="napari-lungseg",
                software_versions=version("napari-lungseg"),
                device_serial_number="0",
                content_label="LUNGS",
                content_description="Lungs, for research",
                series_description="Lungs, for research",
                plane_positions=[PlanePositionSequence("PATIENT", frame.position.tolist()) for frame in frames],
            )
    except (AttributeError, ValueError) as error:
        raise InputError(f"{source} lacks what a DICOM-SEG needs from its series ({error}); use .seg.nrrd.") from error
    made.save_as(path)


def _known_alone(volume: Volume, names: Mapping[int, str]) -> tuple[Array, list[str]]:
    """Labels numbered from 1 on, as segments are, and the name of each."""
    array = np.asarray(volume.array)
    if array.dtype.kind not in "bui" or array.min(initial=0) < 0:
        raise InputError("DICOM-SEG holds labels, not an image; use .nii.gz or .nrrd.")
    known = {label: name for label, name in names.items() if name in STRUCTURES}
    numbered = np.zeros(array.shape, np.uint8)
    for number, label in enumerate(known, 1):
        numbered[array == label] = number
    others = np.unique(array[(numbered == 0) & (array != 0)])
    if len(others) or not known:
        what = ", ".join(names.get(int(label), f"label {label}") for label in others[:_MOST_NAMED]) or "no lung"
        what += " and more" if len(others) > _MOST_NAMED else ""
        raise InputError(f"DICOM-SEG is written of lungs and lobes only, but the mask has {what}; use .seg.nrrd.")
    return numbered, list(known.values())


def _description(number: int, name: str, origin: SegOrigin) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    structure = STRUCTURES[name]
    segment = SegmentDescription(
        number,
        name,
        codes.cid7150.AnatomicalStructure,
        _concept(structure.code),
        # Otherwise a person chose the threshold and may have corrected it.
        "AUTOMATIC" if origin.is_automatic else "SEMIAUTOMATIC",
        AlgorithmIdentificationSequence(
            " ".join(filter(None, ("napari-lungseg", origin.model))),
            codes.cid7162.ArtificialIntelligence,
            version("napari-lungseg"),
            parameters={"weights SHA-256": origin.weights_sha256} if origin.weights_sha256 else None,
        ),
        display_color=CIELabColor.from_rgb(*bytes.fromhex(structure.colour[1:])),
    )
    if structure.side is not None:
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [_concept(structure.side)]
    return segment


def _concept(code: tuple[str, str]) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(code[0], "SCT", code[1])


def _head(path: Path, *, with_patient: bool) -> pydicom.Dataset:
    with opened(path) as stream:
        wanted = [*_NEEDED, *_EMPTY, *_OF_PATIENT, "SpecificCharacterSet"] if with_patient else _NEEDED
        data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(wanted))
    for keyword in _EMPTY:
        if keyword not in data or not with_patient:
            setattr(data, keyword, None)
    return data


def _on_frame(volume: Volume, labels: Array, frame: Frame, source: Path) -> Array:
    """Labels at the pixels of a slice."""
    pixel_to_lps = np.stack([frame.columns * frame.spacing[0], frame.rows * frame.spacing[1], frame.position], axis=1)
    inverse = np.linalg.inv(volume.affine)
    to_index = inverse[:3, :3] @ pixel_to_lps
    to_index[:, 2] += inverse[:3, 3]
    rows, columns = frame.shape
    shape = np.array((1,) * (3 - labels.ndim) + labels.shape)
    corners = to_index @ np.array([[r, c, 1.0] for r in (0, rows - 1) for c in (0, columns - 1)]).T
    if corners.min() < -_OVERHANG or (corners - shape[:, None] + 1).max() > _OVERHANG:
        raise InputError(f"The mask does not cover {frame.path.name} of {source}; give the series that was segmented.")
    index = []
    for (along_column, along_row, first), length in zip(to_index, shape):
        place = along_column * np.arange(rows)[:, None] + along_row * np.arange(columns) + first
        index.append(np.clip(np.rint(place), 0, length - 1).astype(np.intp))
    return labels.reshape(shape)[tuple(index)].astype(np.uint8)
