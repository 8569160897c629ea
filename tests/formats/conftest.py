"""CT series as scanners write them, in DICOM, small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import PATIENT
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

WriteSlice = Callable[..., Path]


@pytest.fixture
def write_slice() -> WriteSlice:
    """Writes one CT slice; keywords replace or (None) remove DICOM attributes."""

    def write(path: Path, hu: np.ndarray, position: Any, *, slope: float = 1.0, intercept: float = -1024.0, **attributes: Any) -> Path:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        stored = np.rint((hu - intercept) / slope).astype(np.int64).astype(np.uint16)
        defaults = {
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SeriesInstanceUID": "1.2.3.4",
            "SeriesNumber": 3,
            "InstanceNumber": 1,
            "StudyInstanceUID": "1.2.3",
            "FrameOfReferenceUID": "1.2.3.9",
            **PATIENT,
            "Rows": hu.shape[0],
            "Columns": hu.shape[1],
            "PixelSpacing": [0.75, 0.5],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [float(value) for value in position],
            "SliceThickness": 3,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            "RescaleSlope": slope,
            "RescaleIntercept": intercept,
        }
        for name, value in (defaults | attributes).items():
            if value is not None:
                setattr(file, name, value)
        file.PixelData = stored.tobytes()
        pydicom.dcmwrite(path, file, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_series(write_slice: WriteSlice) -> Callable[..., np.ndarray]:
    """Writes slices into a folder in shuffled names, InstanceNumbers reversed; returns the HU in the order of positions."""

    def write(folder: Path, heights: list[float], **attributes: Any) -> np.ndarray:
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(1)
        hu = rng.integers(-1000, 500, (len(heights), 4, 6))
        for place, index in enumerate(rng.permutation(len(heights))):
            where = (-20.0, -10.0, heights[index])
            write_slice(folder / f"IM{place:03d}.dcm", hu[index], where, InstanceNumber=len(heights) - int(index), **attributes)
        return hu

    return write


@pytest.fixture
def write_enhanced() -> WriteSlice:
    """Writes slices into one enhanced multi-frame file, each frame with its own slope and intercept.

    ``frames`` are dictionaries with ``hu``, ``position`` and, where they differ from the usual, ``slope``, ``intercept``, ``time``
    and ``frame_type``.
    """

    def write(path: Path, frames: list[dict[str, Any]], **attributes: Any) -> Path:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        measures = group(PixelMeasuresSequence={"PixelSpacing": [0.75, 0.5], "SliceThickness": 3})
        plane = group(PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
        file.SharedFunctionalGroupsSequence = [Dataset()]
        for part in (measures, plane):
            file.SharedFunctionalGroupsSequence[0].update(part)
        file.PerFrameFunctionalGroupsSequence, stored = [], []
        for frame in frames:
            slope, intercept = frame.get("slope", 1.0), frame.get("intercept", -1024.0)
            stored.append(np.rint((frame["hu"] - intercept) / slope).astype(np.uint16))
            groups = Dataset()
            for part in (
                group(PlanePositionSequence={"ImagePositionPatient": [float(value) for value in frame["position"]]}),
                group(PixelValueTransformationSequence={"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "HU"}),
                group(FrameContentSequence={"TemporalPositionIndex": frame.get("time", 1)}),
                group(CTImageFrameTypeSequence={"FrameType": frame.get("frame_type", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])}),
            ):
                groups.update(part)
            file.PerFrameFunctionalGroupsSequence.append(groups)
        for name, value in {
            "Modality": "CT",
            "SeriesInstanceUID": "1.2.3.4",
            "SeriesNumber": 3,
            "InstanceNumber": 1,
            "StudyInstanceUID": "1.2.3",
            "FrameOfReferenceUID": "1.2.3.9",
            **PATIENT,
            "NumberOfFrames": len(frames),
            "Rows": stored[0].shape[0],
            "Columns": stored[0].shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            **attributes,
        }.items():
            setattr(file, name, value)
        file.PixelData = np.stack(stored).tobytes()
        pydicom.dcmwrite(path, file, enforce_file_format=True)
        return path

    return write


def group(**macros: dict[str, Any]) -> Dataset:
    """A functional group."""
    groups = Dataset()
    for name, attributes in macros.items():
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        setattr(groups, name, [item])
    return groups
