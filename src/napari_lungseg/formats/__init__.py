"""Images in and out: DICOM, NIfTI, NRRD, MetaImage, TIFF, PNG and JPEG."""

from napari_lungseg.formats.choice import SeriesChoiceError, SeriesInfo, UnevenSlicesError
from napari_lungseg.formats.dicom import is_dicom_path
from napari_lungseg.formats.dispatch import (
    DICOM_SEG,
    READABLE,
    WRITABLE,
    check_target,
    is_numbered,
    is_readable,
    is_stack,
    read,
    read_segments,
    read_stack,
    scans_in,
    write,
)

__all__ = [
    "DICOM_SEG",
    "READABLE",
    "WRITABLE",
    "SeriesChoiceError",
    "SeriesInfo",
    "UnevenSlicesError",
    "check_target",
    "is_dicom_path",
    "is_numbered",
    "is_readable",
    "is_stack",
    "read",
    "read_segments",
    "read_stack",
    "scans_in",
    "write",
]
