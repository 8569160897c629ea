"""Images in and out: DICOM, NIfTI, NRRD, MetaImage, TIFF, PNG and JPEG."""

from napari_lungseg.formats.dispatch import (
    READABLE,
    WRITABLE,
    is_readable,
    read,
    scans_in,
    write,
)

__all__ = ["READABLE", "WRITABLE", "is_readable", "read", "scans_in", "write"]
