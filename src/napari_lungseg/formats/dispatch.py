"""Which format a path is in, and the one place where images are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from napari_lungseg.classes import spelled_out
from napari_lungseg.errors import InputError, reading
from napari_lungseg.files import given_path, new_path, whole_file, whole_folder
from napari_lungseg.formats import dicom, meta, nifti, nrrd, picture, segnrrd, tiff
from napari_lungseg.formats.mistaken import told_of, what_else
from napari_lungseg.volume import Volume

#: Files with one image, and with one or several.
_READERS: dict[str, Callable[[Path], Volume]] = {
    ".seg.nrrd": lambda path: _named(*segnrrd.read_segmentation(path)),
    ".png": picture.read_picture,
    ".jpg": picture.read_picture,
    ".jpeg": picture.read_picture,
}
_SERIES_READERS: dict[str, Callable[[Path, str | None], Volume]] = {
    ".nii": nifti.read_nifti,
    ".nii.gz": nifti.read_nifti,
    ".hdr": nifti.read_nifti,
    ".hdr.gz": nifti.read_nifti,
    ".img": nifti.read_nifti,
    ".img.gz": nifti.read_nifti,
    ".nrrd": lambda path, series: _read_nrrd(path, series),
    ".nhdr": lambda path, series: _read_nrrd(path, series),
    ".mha": meta.read_meta,
    ".mhd": meta.read_meta,
    ".tif": tiff.read_tiff,
    ".tiff": tiff.read_tiff,
}
_DICOM = (".dcm", ".ima")
#: Files that may be packed with gzip as a whole.
_GZIPPED = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
#: Files that may be slices of a volume when several are given.
_SLICES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_WRITERS: dict[str, Callable[[Volume, Path], None]] = {
    ".nii": nifti.write_nifti,
    ".nii.gz": nifti.write_nifti,
    ".nrrd": nrrd.write_nrrd,
    ".seg.nrrd": segnrrd.write_segmentation,
    ".mha": meta.write_meta,
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
    """Whether a folder holds pictures that may be the slices of one volume: PNG, JPEG or TIFF whose names differ in one number only."""
    with suppress(PermissionError):
        return path.is_dir() and bool(picture.numbered(path))
    return False


def read(path: str | Path, *, series: str | None = None, fill_gaps: bool = False) -> Volume:
    """Read an image with its geometry.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD, MetaImage, TIFF, PNG, JPEG, DICOM or DICOM-SEG file, either file of a NIfTI or Analyze pair, a folder with the
        files of DICOM series in it or below, the DICOMDIR of a medium, or a folder of numbered PNG, JPEG or TIFF slices.
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
    path = given_path(path)
    with reading(path):
        if not path.exists():
            raise InputError(f"{path} does not exist; check the name.")
        if path.is_dir():
            if not dicom.is_dicom_path(path):
                if is_numbered(path):
                    return picture.read_numbered(picture.numbered(path), read)
                _check_folder(path)
            return dicom.read_dicom(path, series, fill_gaps=fill_gaps)
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or export it again.")
        ending = _ending(path, READABLE)
        if what := what_else(path, may_be_packed=ending in _GZIPPED):
            raise InputError(f"{path} {what}")
        if ending in _SERIES_READERS:
            return _SERIES_READERS[ending](path, series)
        if ending in _READERS:
            return _READERS[ending](path)
        if dicom.is_dicom(path):
            from napari_lungseg.formats import dicomseg

            if dicomseg.is_dicom_seg(path):
                return _named(*dicomseg.read_dicom_seg(path))
            return dicom.read_dicom(path, series, fill_gaps=fill_gaps)
        raise InputError(f"{path} is of no known format; give a folder of DICOM files or a file that ends in {_list(READABLE)}.")


def _check_folder(folder: Path) -> None:
    """Refuse a folder in which there are images, but none that are slices of one volume."""
    images = [path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".") and _ending(path, READABLE) is not None]
    if images:
        more = f" and {len(images) - 1} more; give one of these files" if len(images) > 1 else "; give that file"
        raise InputError(f"{folder} holds no DICOM files and no pictures whose names differ in one number only, but {images[0]}{more}.")


def is_stack(paths: Sequence[Path]) -> bool:
    """Whether several files can be the slices of one volume: DICOM, or PNG, JPEG or TIFF whose names differ in one number only."""
    if len(paths) < 2 or not all(path.is_file() for path in paths):
        return False
    endings = {_ending(path, READABLE) for path in paths}
    return (endings <= {*_SLICES} and bool(picture.in_order(paths))) or (endings <= {*_DICOM, None} and all(map(dicom.is_dicom, paths)))


def read_stack(paths: Sequence[Path], *, series: str | None = None, fill_gaps: bool = False) -> Volume:
    """Read files that :func:`is_stack` calls slices as one volume.

    Raises
    ------
    InputError
        As :func:`read`, for a folder with just these files.
    """
    folder = paths[0].parent
    with reading(folder):
        if _ending(paths[0], READABLE) not in _SLICES:
            return dicom.read_dicom(folder, series, fill_gaps=fill_gaps, files=sorted(paths))
        return picture.read_numbered(picture.in_order(paths), read)


def _named(labels: Volume, names: Mapping[int, str]) -> Volume:
    return replace(labels, names=dict(names))


def _read_nrrd(path: Path, series: str | None) -> Volume:
    """Segments where the file tells of any, though its name does not; else an image."""
    return _named(*segnrrd.read_segmentation(path)) if segnrrd.is_segmentation(path) else nrrd.read_nrrd(path, series)


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
    path = given_path(path)
    with reading(path):
        if path.is_file() and path.stat().st_size:
            ending = _ending(path, READABLE)
            if ending == ".seg.nrrd" or (ending in (".nrrd", ".nhdr") and segnrrd.is_segmentation(path)):
                return segnrrd.read_segmentation(path)
            if dicom.is_dicom(path):
                from napari_lungseg.formats import dicomseg

                if dicomseg.is_dicom_seg(path):
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
        What the labels are; by default the volume's own names. NIfTI (if they fit into its 80 characters), NRRD and MetaImage keep them
        in their description. For ``.seg.nrrd`` and ``.dcm`` without any, 1 is the right lung and 2 the left, and those called "right lung",
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
    path = new_path(path)
    source = None if source is None else given_path(source)
    names = spelled_out(volume.names) if names is None and volume.names is not None else names
    ending = check_target(path, volume.shape, source)
    if _is_numbered_target(ending, volume.shape):
        return _write_numbered(volume, path.with_suffix(""))
    with whole_file(path, ending) as temporary:
        if ending == DICOM_SEG:
            from napari_lungseg.formats import dicomseg

            dicomseg.write_dicom_seg(volume, temporary, source, series, names)
        elif ending == ".seg.nrrd":
            segnrrd.write_segmentation(volume, temporary, names)
        else:
            _WRITERS[ending](replace(volume, names=names), temporary)
    return path


def check_target(path: Path, shape: tuple[int, ...], source: Path | None = None) -> str:
    """The ending that decides the format of an image of a shape; before the long work of making that image.

    Raises
    ------
    InputError
        When :func:`write` could not write it there for what can be known by now.
    """
    path = given_path(path)
    ending = _ending(path, WRITABLE)
    if ending is None:
        raise InputError(f"{path} does not end in a format that can be written; use {_list(WRITABLE)}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file name in it.")
    if _is_numbered_target(ending, shape) and path.with_suffix("").exists():
        raise InputError(f"{path.with_suffix('')} is there already; slices go into a new folder, so choose another name.")
    if ending == DICOM_SEG:
        from napari_lungseg.formats import dicomseg

        dicomseg.check_source(source)
    return ending


def _is_numbered_target(ending: str, shape: tuple[int, ...]) -> bool:
    return ending == ".png" and len(shape) == 3 and shape[0] > 1


def _write_numbered(volume: Volume, folder: Path) -> Path:
    with whole_folder(folder) as temporary:
        picture.write_numbered(volume, temporary, folder.name)
    return folder


def scans_in(folder: str | Path) -> list[Path]:
    """The scans of a folder, each a path for :func:`read`, sorted by name.

    Returns
    -------
    scans : list of Path
        ``[folder]`` where it holds DICOM files of a series; the DICOM files themselves where each is a series of
        its own (single slices); else files of known formats and the folders below that hold DICOM files.

    Raises
    ------
    InputError
        When it is not a folder or nothing readable lies in it.
    """
    folder = given_path(folder)
    with reading(folder):
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder.")
        scans = _scans(folder)
        if not scans:
            raise InputError(
                f"No images were found in {folder}; it should hold DICOM files or files that end in {_list(READABLE)}." + told_of(folder)
            )
        return scans


def _scans(folder: Path) -> list[Path]:
    if dicom.holds_dicom(folder):
        return dicom.single_slices(folder) or [folder]
    scans: list[Path] = []
    for path in sorted(folder.iterdir()):
        # Numbered pictures may as well be radiographs of many patients.
        if path.name.startswith(".") or not is_readable(path) or is_numbered(path):
            continue
        if path.is_dir():
            scans += dicom.dicom_folders(path)
        elif not _is_voxels_of_pair(path) and path.name.upper() != dicom.DIRECTORY:
            scans.append(path)
    return scans


def _is_voxels_of_pair(path: Path) -> bool:
    """Whether a file is that with the voxels of a pair, whose header stands for both."""
    stem = path.name.removesuffix(".gz").removesuffix(".img")
    return path.name.endswith((".img", ".img.gz")) and any(path.with_name(stem + ending).exists() for ending in (".hdr", ".hdr.gz"))


def _ending(path: Path, known: tuple[str, ...]) -> str | None:
    name = path.name.lower()
    return max((ending for ending in known if name.endswith(ending)), key=len, default=None)


def _list(endings: tuple[str, ...]) -> str:
    return ", ".join(endings[:-1]) + " or " + endings[-1]
