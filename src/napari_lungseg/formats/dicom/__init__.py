"""CT in DICOM: series and single files, classic and enhanced multi-frame."""

from napari_lungseg.formats.dicom.geometry import UnevenSlicesError
from napari_lungseg.formats.dicom.part10 import is_dicom
from napari_lungseg.formats.dicom.read import DIRECTORY, dicom_folders, holds_dicom, is_dicom_path, read_dicom, single_slices, stacks_in

__all__ = [
    "DIRECTORY",
    "UnevenSlicesError",
    "dicom_folders",
    "holds_dicom",
    "is_dicom",
    "is_dicom_path",
    "read_dicom",
    "single_slices",
    "stacks_in",
]
