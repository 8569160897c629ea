"""NIfTI, NRRD and MetaImage, by way of SimpleITK."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from napari_lungseg.errors import InputError
from napari_lungseg.formats.choice import Candidate, SeriesInfo, choose
from napari_lungseg.preprocess import guess_unit
from napari_lungseg.volume import Affine, Volume

_CHUNK = 1 << 22
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of ITK on stderr; what matters is raised."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def read_nifti(path: Path, series: str | None = None) -> Volume:
    """Read .nii or .nii.gz; of a time series the point that is asked for."""
    _check_nifti(path)
    return _read(path, series, "NiftiImageIO", "NIfTI")


def read_nrrd(path: Path, series: str | None = None) -> Volume:
    """Read .nrrd or .nhdr; of a time series the point that is asked for."""
    return _read(path, series, "NrrdImageIO", "NRRD")


def read_meta(path: Path, series: str | None = None) -> Volume:
    """Read .mha or .mhd; of a time series the point that is asked for."""
    _check_meta(path)
    return _read(path, series, "MetaImageIO", "MetaImage")


def _read(path: Path, series: str | None, image_io: str, name: str) -> Volume:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
            size = reader.GetSize()
            if len(size) > 3:
                points = list(np.ndindex(*size[3:]))
                index = points[0] if len(points) == 1 else choose(_points(points, size, reader.GetSpacing()), series, path).image
                reader.SetExtractIndex([0, 0, 0, *index])
                reader.SetExtractSize([*size[:3], *(0 for _ in size[3:])])
            image = reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                f"{path} has a sheared geometry (its axes are not at right angles), which cannot be read; "
                "resample it on a grid with right angles."
            ) from error
        raise InputError(f"{path} is damaged or not a {name} file; copy or export it again.") from error
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path} has colour or vector voxels; give an image with one number per voxel.")
    array = sitk.GetArrayFromImage(image)
    return Volume(array, affine_of(image), guess_unit(array), oriented=_is_oriented(reader, name))


def _is_oriented(reader: sitk.ImageFileReader, name: str) -> bool:
    """Whether a file tells how the patient lies: NIfTI by one of its two codes, NRRD by naming its space; MetaImage is taken to."""
    if name == "NIfTI":
        return any(reader.GetMetaData(key) != "0" for key in ("qform_code", "sform_code"))
    return name != "NRRD" or bool(reader.HasMetaDataKey("NRRD_space"))


def _points(points: list[tuple[int, ...]], size: tuple[int, ...], spacing: tuple[float, ...]) -> list[Candidate[tuple[int, ...]]]:
    """The volumes along the axes after the third."""
    return [
        Candidate(SeriesInfo(str(number), "", "", size[2::-1], spacing[2::-1], f"time {number}"), point)
        for number, point in enumerate(points, 1)
    ]


def affine_of(image: Any) -> Affine:
    """Affine of a SimpleITK image, from array index (z, y, x, 1) to LPS mm."""
    axes = image.GetDimension()
    linear = np.array(image.GetDirection()).reshape(axes, axes) * np.array(image.GetSpacing())
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    affine[:axes, 3 - axes : 3] = linear[:, ::-1]
    affine[:axes, 3] = image.GetOrigin()
    return affine


def write_nifti(volume: Volume, path: Path) -> None:
    """Write .nii or .nii.gz; ITK would store the geometry of a sheared volume wrongly."""
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        raise InputError("NIfTI cannot hold its sheared geometry; use .nrrd or .mha.")
    write_itk(volume, path)


def write_itk(volume: Volume, path: Path) -> None:
    """Write what SimpleITK knows by its ending, compressed where the format can."""
    with quiet():
        sitk.WriteImage(to_image(volume), str(path), useCompression=path.suffix != ".nii")


def to_image(volume: Volume) -> Any:
    """The volume as a SimpleITK image."""
    array = np.ascontiguousarray(volume.array)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    affine = volume.affine
    # A 2-D image stays one where two axes say all of its geometry; else it becomes a volume of one slice.
    flat = np.array_equal(affine[:2, 0], (0, 0)) and np.array_equal(affine[2], (1, 0, 0, 0))
    axes = 2 if volume.ndim == 2 and flat else 3
    array = array.reshape((1,) * (axes - array.ndim) + array.shape)
    linear = affine[:axes, 3 - axes : 3][:, ::-1]
    spacing = np.linalg.norm(linear, axis=0)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:axes, 3].tolist())
    image.SetDirection((linear / spacing).ravel().tolist())
    return image


def _check_nifti(path: Path) -> None:
    """Refuse a file that is shorter than its header says: ITK would fill up the rest with anything."""
    packed = path.suffix.lower() == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            header = stream.read(540)
            order = "<" if header[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
            (size,) = struct.unpack(f"{order}i", header[:4])
            if size == 348:
                dims = struct.unpack(f"{order}8h", header[40:56])
                (bits,) = struct.unpack(f"{order}h", header[72:74])
                offset = int(struct.unpack(f"{order}f", header[108:112])[0])
            elif size == 540:
                (bits,) = struct.unpack(f"{order}h", header[14:16])
                dims = struct.unpack(f"{order}8q", header[16:80])
                (offset,) = struct.unpack(f"{order}q", header[168:176])
            else:
                raise InputError(f"{path} is damaged or not a NIfTI file; copy or export it again.")
            wanted = offset + int(np.prod([max(1, n) for n in dims[1 : 1 + max(0, dims[0])]], dtype=np.int64)) * bits // 8
            length = len(header) if packed else path.stat().st_size
            while packed and (chunk := stream.read(_CHUNK)):
                length += len(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged or not a NIfTI file; copy or export it again.") from error
    if length < wanted:
        raise InputError(f"{path} is cut off: {length} of {wanted} bytes are there; copy or export it again.")


def _check_meta(path: Path) -> None:
    """Refuse a damaged file before ITK does, as MetaIO also writes to stderr."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
        stream.seek(0, 2)
        total = stream.tell()
    found = re.search(rb"^ElementDataFile[ \t]*=[ \t]*([^\r\n]*)\r?\n", head, re.MULTILINE)
    fields = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", head[: found.end() if found else 0].decode("latin-1"), re.MULTILINE))
    try:
        voxels = int(np.prod([int(n) for n in fields["DimSize"].split()], dtype=np.int64))
        unit = _META_BYTES[fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")]
        wanted = voxels * unit * int(fields.get("ElementNumberOfChannels", 1))
        if fields.get("CompressedData", "False").lower() == "true":
            wanted = int(fields.get("CompressedDataSize", 0))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged or not a MetaImage file; copy or export it again.") from error
    assert found is not None
    local = fields["ElementDataFile"] == "LOCAL"
    beside = path.parent / fields["ElementDataFile"]
    if not local and not fields["ElementDataFile"].startswith("LIST") and "%" not in beside.name and not beside.is_file():
        raise InputError(f"{path} names {beside.name} as its data, which is not there; copy both files.")
    length = total - found.end() if local else beside.stat().st_size if beside.is_file() else wanted
    if length < wanted:
        raise InputError(f"{path} is cut off: {length} of {wanted} bytes are there; copy or export it again.")
