"""CT series as scanners write them, in DICOM, small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

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
        stored = np.rint((hu - intercept) / slope).astype(np.uint16)
        defaults = {
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SeriesInstanceUID": "1.2.3.4",
            "SeriesNumber": 3,
            "InstanceNumber": 1,
            "PatientName": "Doe^Jane",
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
