"""Which format a path is in, and the one place where files are written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_lungseg.errors import InputError
from napari_lungseg.formats import dicom, itk, picture, segnrrd, tiff
from napari_lungseg.volume import Volume

_READERS: dict[str, Callable[[Path], Volume]] = {
    ".nii": itk.read_nifti,
    ".nii.gz": itk.read_nifti,
    ".nrrd": itk.read_nrrd,
    ".seg.nrrd": segnrrd.read_segmentation,
    ".nhdr": itk.read_nrrd,
    ".mha": itk.read_meta,
    ".mhd": itk.read_meta,
    ".tif": tiff.read_tiff,
    ".tiff": tiff.read_tiff,
    ".png": picture.read_picture,
    ".jpg": picture.read_picture,
    ".jpeg": picture.read_picture,
    ".dcm": dicom.read_file,
    ".ima": dicom.read_file,
}
_WRITERS: dict[str, Callable[[Volume, Path], None]] = {
    ".nii": itk.write_nifti,
    ".nii.gz": itk.write_nifti,
    ".nrrd": itk.write_itk,
    ".seg.nrrd": segnrrd.write_segmentation,
    ".mha": itk.write_itk,
    ".tif": tiff.write_tiff,
    ".tiff": tiff.write_tiff,
    ".png": picture.write_png,
}
#: Endings that :func:`read` and :func:`write` take.
READABLE = tuple(_READERS)
WRITABLE = tuple(_WRITERS)


def is_readable(path: Path) -> bool:
    """Whether :func:`read` would try this path: a known ending, a DICOM file of any name, or a folder with DICOM files in it."""
    if path.is_dir():
        return dicom.holds_dicom(path)
    return _ending(path, READABLE) is not None or dicom.is_dicom(path)


def read(path: str | Path) -> Volume:
    """Read an image with its geometry.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD, MetaImage, TIFF, PNG, JPEG or DICOM file, or a folder with the files of one DICOM series.

    Returns
    -------
    volume : Volume
        Voxels in the file's own order and, but for colour (made grey), of its own type; DICOM in HU. A file without
        a physical size (PNG, JPEG, plain TIFF) gives ``spacing_known=False``.

    Raises
    ------
    InputError
        When the path is missing, empty, damaged, of no known format, or holds what cannot be read rightly.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return dicom.read_folder(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name.")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
        ending = _ending(path, READABLE)
        if ending is not None:
            return _READERS[ending](path)
        if dicom.is_dicom(path):
            return dicom.read_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    raise InputError(f"{path} is of no known format; give a folder of DICOM files or a file that ends in {_list(READABLE)}.")


def write(volume: Volume, path: str | Path, names: Mapping[int, str] | None = None) -> Path:
    """Write an image or labels; the ending decides the format.

    The file appears under its name only once it is whole; an older one of that name is replaced then.

    Parameters
    ----------
    volume : Volume
        NIfTI, NRRD and MetaImage keep size, spacing, origin and direction, TIFF the spacing, PNG the pixels alone.
    path : path
        A file name in an existing folder.
    names : mapping, optional
        Names of the labels, which ``.seg.nrrd`` keeps; by default 1 is the right lung and 2 the left.

    Returns
    -------
    path : Path
        What was written.

    Raises
    ------
    InputError
        When the ending is not one of ``WRITABLE``, the format cannot hold the volume, or the disk refuses.
    """
    path = Path(path).expanduser()
    ending = _ending(path, WRITABLE)
    if path.name.lower().endswith(".dcm"):
        raise InputError(f"Writing .dcm is not supported yet ({path}); use {_list(WRITABLE)}.")
    if ending is None:
        raise InputError(f"{path} does not end in a format that can be written; use {_list(WRITABLE)}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file name in it.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it first or choose another.")
    with whole_file(path, ending) as temporary:
        if ending == ".seg.nrrd":
            segnrrd.write_segmentation(volume, temporary, names)
        else:
            _WRITERS[ending](volume, temporary)
    return path


@contextmanager
def whole_file(path: Path, ending: str = "") -> Iterator[Path]:
    """A temporary name in the same folder, whose file gets the right one when it is whole and on disk.

    Raises
    ------
    InputError
        When it was not written; an older file of that name is as it was.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{ending}")
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)
        os.replace(temporary, path)
        # The new name too, where folders can be flushed.
        with suppress(OSError):
            _flush(path.parent, os.O_RDONLY)
    except InputError as error:
        raise InputError(f"{path} was not written: {error}") from error
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the disk may be full or read-only"
        raise InputError(f"{path} could not be written: {reason}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def scans_in(folder: str | Path) -> list[Path]:
    """The scans of a folder, each a path for :func:`read`, sorted by name.

    Returns
    -------
    scans : list of Path
        ``[folder]`` where it holds DICOM files of a series; the DICOM files themselves where each is a series of
        its own (single slices); else files of known formats and sub-folders with DICOM files.

    Raises
    ------
    InputError
        When it is not a folder or nothing readable lies in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    if dicom.holds_dicom(folder):
        return dicom.single_slices(folder) or [folder]
    scans = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_readable(path)]
    if not scans:
        raise InputError(f"No images were found in {folder}; it should hold DICOM files or files that end in {_list(READABLE)}.")
    return scans


def _ending(path: Path, known: tuple[str, ...]) -> str | None:
    name = path.name.lower()
    return max((ending for ending in known if name.endswith(ending)), key=len, default=None)


def _list(endings: tuple[str, ...]) -> str:
    return ", ".join(endings[:-1]) + " or " + endings[-1]
