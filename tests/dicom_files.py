"""What DICOM files of the tests have in common, and how their pixels are packed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

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
    "StudyDescription": "Thorax of Jane",
    "OtherPatientIDs": "ALIAS-99",
    "PatientAddress": "Baker Street 221b",
    "PatientComments": "afraid of dogs",
    "PatientAge": "099Y",
    "ClinicalTrialSubjectID": "TRIAL-7",
}


def write_ct_slice(path: Path, hu: np.ndarray, position: Any, *, slope: float = 1.0, intercept: float = -1024.0, **attributes: Any) -> Path:
    """Write one CT slice; keywords replace or (None) remove DICOM attributes."""
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


def raw_element(path: Path, tag: int, kind: str, value: bytes) -> None:
    """Put bytes into an element that no writer would put there."""
    data = pydicom.dcmread(path)
    data._dict[Tag(tag)] = RawDataElement(Tag(tag), kind, len(value), value, 0, False, True)
    data.save_as(path)


def write_multi_frame(path: Path, frames: list[dict[str, Any]], **attributes: Any) -> Path:
    """Write slices into one enhanced multi-frame file.

    ``frames`` are dictionaries with ``hu``, ``position`` and, where they differ from the usual, ``slope``, ``intercept``, ``time``
    and ``frame_type``.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    measures = _group(PixelMeasuresSequence={"PixelSpacing": [0.75, 0.5], "SliceThickness": 3})
    plane = _group(PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    file.SharedFunctionalGroupsSequence = [Dataset()]
    for part in (measures, plane):
        file.SharedFunctionalGroupsSequence[0].update(part)
    file.PerFrameFunctionalGroupsSequence, stored = [], []
    for frame in frames:
        slope, intercept = frame.get("slope", 1.0), frame.get("intercept", -1024.0)
        stored.append(np.rint((frame["hu"] - intercept) / slope).astype(np.uint16))
        groups = Dataset()
        for part in (
            _group(PlanePositionSequence={"ImagePositionPatient": [float(value) for value in frame["position"]]}),
            _group(PixelValueTransformationSequence={"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "HU"}),
            _group(FrameContentSequence={"TemporalPositionIndex": frame.get("time", 1)}),
            _group(CTImageFrameTypeSequence={"FrameType": frame.get("frame_type", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])}),
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


def _group(**macros: dict[str, Any]) -> Dataset:
    """A functional group."""
    groups = Dataset()
    for name, attributes in macros.items():
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        setattr(groups, name, [item])
    return groups


def packed(plain: Path, path: Path, syntax: str, encode: Callable[[np.ndarray], bytes]) -> Path:
    """The file with its pixels packed, each frame by itself."""
    file = pydicom.dcmread(plain)
    frames = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    file.PixelData = encapsulate([encode(np.ascontiguousarray(frame)) for frame in frames])
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(path)
    return path


def with_zeros_behind(path: Path) -> None:
    """Add four gigabytes of zeros, packed, behind the pixels of a deflated file."""
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    deflater = zlib.compressobj(wbits=-15)
    parts = zlib.decompress(whole[start:], -15), bytes(1 << 24)
    pixels, zeros = (deflater.compress(part) + deflater.flush(zlib.Z_FULL_FLUSH) for part in parts)
    path.write_bytes(whole[:start] + pixels + zeros * 256 + deflater.flush())
