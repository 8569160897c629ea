"""Which format a path is in, and the one place where files are written."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_lungseg.errors import InputError, reading
from napari_lungseg.formats import dicom, dicomseg, itk, picture, segnrrd, tiff
from napari_lungseg.volume import Volume

#: Files with one image, and with one or several.
_READERS: dict[str, Callable[[Path], Volume]] = {
    ".seg.nrrd": lambda path: segnrrd.read_segmentation(path)[0],
    ".png": picture.read_picture,
    ".jpg": picture.read_picture,
    ".jpeg": picture.read_picture,
}
_SERIES_READERS: dict[str, Callable[[Path, str | None], Volume]] = {
    ".nii": itk.read_nifti,
    ".nii.gz": itk.read_nifti,
    ".nrrd": itk.read_nrrd,
    ".nhdr": itk.read_nrrd,
    ".mha": itk.read_meta,
    ".mhd": itk.read_meta,
    ".tif": tiff.read_tiff,
    ".tiff": tiff.read_tiff,
}
_DICOM = (".dcm", ".ima")
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
#: Ending of a DICOM-SEG; it alone needs the series that was segmented.
DICOM_SEG = ".dcm"
#: Endings that :func:`read` and :func:`write` take.
READABLE = (*_SERIES_READERS, *_READERS, *_DICOM)
WRITABLE = (*_WRITERS, DICOM_SEG)


def is_readable(path: Path) -> bool:
    """Whether :func:`read` would try this path: a known ending, a DICOM file of any name, a folder of DICOM files or numbered pictures.

    A folder that cannot be looked into is one of them, so that reading it tells why.
    """
    if _ending(path, READABLE) is not None and not path.is_dir():
        return True
    try:
        return dicom.is_dicom_path(path) or is_numbered(path)
    except OSError:
        return True


def is_numbered(path: Path) -> bool:
    """Whether a folder holds pictures that may be the slices of one volume: PNG or JPEG whose names differ in one number only."""
    with suppress(PermissionError):
        return path.is_dir() and bool(picture.numbered(path))
    return False


def read(path: str | Path, *, series: str | None = None, fill_gaps: bool = False) -> Volume:
    """Read an image with its geometry.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD, MetaImage, TIFF, PNG, JPEG, DICOM or DICOM-SEG file, a folder with the files of DICOM series, or one of
        numbered PNG or JPEG slices.
    series : str, optional
        Which image, where there are several: the key or the description of a DICOM series, the number of a point of time.
    fill_gaps : bool
        Interpolate DICOM slices where some are missing or unevenly spaced.

    Returns
    -------
    volume : Volume
        Voxels in the file's own order and, but for colour (made grey), of its own type; DICOM in HU. A file without
        a physical size (PNG, JPEG, plain TIFF) gives ``spacing_known=False``.

    Raises
    ------
    SeriesChoiceError
        When there are several images and it is not clear which is meant; its ``choices`` are what there is.
    UnevenSlicesError
        When slices of a DICOM series are missing or unevenly spaced.
    InputError
        When the path is missing, empty, damaged, of no known format, or holds what cannot be read rightly. The two others are
        InputErrors as well.
    """
    with reading(path):
        path = Path(path).expanduser()
        if not path.exists():
            raise InputError(f"{path} does not exist; check the name.")
        if path.is_dir():
            if not dicom.holds_dicom(path) and is_numbered(path):
                return picture.read_numbered(path)
            return dicom.read_dicom(path, series, fill_gaps=fill_gaps)
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
        ending = _ending(path, READABLE)
        if ending in _SERIES_READERS:
            return _SERIES_READERS[ending](path, series)
        if ending in _READERS:
            return _READERS[ending](path)
        if dicom.is_dicom(path):
            if dicomseg.is_dicom_seg(path):
                return dicomseg.read_dicom_seg(path)[0]
            return dicom.read_dicom(path, series, fill_gaps=fill_gaps)
        raise InputError(f"{path} is of no known format; give a folder of DICOM files or a file that ends in {_list(READABLE)}.")


def read_segments(path: str | Path) -> tuple[Volume, dict[int, str]] | None:
    """Read a file that says of itself that it is a segmentation (``.seg.nrrd``, DICOM-SEG).

    Returns
    -------
    labels, names : Volume, dict
        As of :func:`read`, and what each label is; None where the file is no segmentation.

    Raises
    ------
    InputError
        As :func:`read`.
    """
    with reading(path):
        path = Path(path).expanduser()
        if path.is_file() and path.stat().st_size:
            if _ending(path, READABLE) == ".seg.nrrd":
                return segnrrd.read_segmentation(path)
            if dicom.is_dicom(path) and dicomseg.is_dicom_seg(path):
                return dicomseg.read_dicom_seg(path)
        return None


def write(
    volume: Volume,
    path: str | Path,
    names: Mapping[int, str] | None = None,
    *,
    source: str | Path | None = None,
    series: str | None = None,
) -> Path:
    """Write an image or labels; the ending decides the format.

    The file appears under its name only once it is whole; an older one of that name is replaced then.

    Parameters
    ----------
    volume : Volume
        NIfTI, NRRD and MetaImage keep size, spacing, origin and direction, TIFF the spacing, PNG the pixels alone.
    path : path
        A file name in an existing folder. ``.png`` for a volume of several slices makes a folder of that name without the
        ending, which must not be there yet, with a picture for each slice along the first axis.
    names : mapping, optional
        What the labels are, for ``.seg.nrrd`` and ``.dcm``; by default 1 is the right lung and 2 the left. Those called "right lung",
        "left lung" and "lungs" get their codes.
    source : path, optional
        For ``.dcm`` (DICOM-SEG, labels only): file or folder of the DICOM series that was segmented.
    series : str, optional
        Which series of the source, as for :func:`read`.

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
    source = None if source is None else Path(source).expanduser()
    ending = check_target(path, volume.shape, source)
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it first or choose another.")
    if _is_numbered_target(ending, volume.shape):
        return _write_numbered(volume, path.with_suffix(""))
    with whole_file(path, ending) as temporary:
        if ending == DICOM_SEG:
            dicomseg.write_dicom_seg(volume, temporary, source, series, names)
        elif ending == ".seg.nrrd":
            segnrrd.write_segmentation(volume, temporary, names)
        else:
            _WRITERS[ending](volume, temporary)
    return path


def check_target(path: Path, shape: tuple[int, ...], source: Path | None = None) -> str:
    """The ending that decides the format of an image of a shape; before the long work of making that image.

    Raises
    ------
    InputError
        When :func:`write` could not write it there for what can be known by now.
    """
    ending = _ending(path, WRITABLE)
    if ending is None:
        raise InputError(f"{path} does not end in a format that can be written; use {_list(WRITABLE)}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file name in it.")
    if _is_numbered_target(ending, shape) and path.with_suffix("").exists():
        raise InputError(f"{path.with_suffix('')} is there already; slices go into a new folder, so choose another name.")
    if ending == DICOM_SEG:
        dicomseg.check_source(source)
    return ending


def _is_numbered_target(ending: str, shape: tuple[int, ...]) -> bool:
    return ending == ".png" and len(shape) == 3 and shape[0] > 1


def _write_numbered(volume: Volume, folder: Path) -> Path:
    temporary = folder.with_name(f".{uuid.uuid4().hex}")
    try:
        with _explained(folder):
            temporary.mkdir()
            picture.write_numbered(volume, temporary, folder.name)
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


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
        with _explained(path):
            yield temporary
            _flush(temporary, os.O_RDWR)
            os.replace(temporary, path)
            # The new name too, where folders can be flushed.
            with suppress(OSError):
                _flush(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What goes wrong while writing, as InputError that names the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path} was not written: {error}") from error
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the disk may be full or read-only"
        raise InputError(f"{path} could not be written: {reason}.") from error


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
    with reading(folder):
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder.")
        if dicom.holds_dicom(folder):
            return dicom.single_slices(folder) or [folder]
        # Numbered pictures may as well be radiographs of many patients.
        scans = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_readable(path) and not is_numbered(path)]
        if not scans:
            raise InputError(f"No images were found in {folder}; it should hold DICOM files or files that end in {_list(READABLE)}.")
        return scans


def _ending(path: Path, known: tuple[str, ...]) -> str | None:
    name = path.name.lower()
    return max((ending for ending in known if name.endswith(ending)), key=len, default=None)


def _list(endings: tuple[str, ...]) -> str:
    return ", ".join(endings[:-1]) + " or " + endings[-1]
