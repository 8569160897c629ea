"""CT in DICOM: series and single files, classic and enhanced multi-frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_lungseg.formats.dicom.finding import DIRECTORY, dicom_folders, holds_dicom, is_dicom, is_dicom_path

if TYPE_CHECKING:
    from napari_lungseg.formats.dicom.read import read_dicom, single_slices, stacks_in

__all__ = [
    "DIRECTORY",
    "dicom_folders",
    "holds_dicom",
    "is_dicom",
    "is_dicom_path",
    "read_dicom",
    "single_slices",
    "stacks_in",
]


def __getattr__(name: str) -> Any:
    """Load what reads DICOM, which takes a while, when it is first wanted."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_lungseg.formats.dicom import read

    return getattr(read, name)
