"""What DICOM files of the tests have in common, and how their pixels are packed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import encapsulate

#: What must be seen nowhere.
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19010203",
    "PatientSex": "F",
    "AccessionNumber": "ACC-0815",
    "StudyID": "STUDY-42",
    "StudyDate": "20010203",
    "StudyTime": "040506",
    "ReferringPhysicianName": "Gray^Henry",
    "InstitutionName": "General Hospital",
}


def packed(plain: Path, path: Path, syntax: str, encode: Callable[[np.ndarray], bytes]) -> Path:
    """The file with its pixels packed, each frame by itself."""
    file = pydicom.dcmread(plain)
    frames = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    file.PixelData = encapsulate([encode(np.ascontiguousarray(frame)) for frame in frames])
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(path)
    return path
