"""MetaImage (.mha, .mhd), read as Kitware's MetaIO reads it and written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.formats.beside import data_file, numbered_files
from napari_lungseg.formats.voxels import Part, VoxelLayout, damaged, image_of, laid_out, numbers_in, text_of, write_packed
from napari_lungseg.labels import names_as_text, names_in_text
from napari_lungseg.volume import Array, Volume

_MOST_HEADER = 1 << 20
_MOST_AXES = 10
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
#: Millimetres in the units of distance that MetaIO knows.
_MM = {"um": 1e-3, "mm": 1.0, "cm": 10.0}
_FIELD = re.compile(r"\s*(\w+)\s*[=:]\s*(.*?)\s*")


def read_meta(path: Path, series: str | None = None) -> Volume:
    """Read .mha or .mhd; of a time series the point that is asked for."""
    try:
        layout = _layout(path, *_parsed(path))
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise damaged(path, "MetaImage") from error
    return image_of(layout, series)


def _parsed(path: Path) -> tuple[dict[str, str], list[str], int]:
    """Fields, the lines after the last of them where they are a list of files, and where the header ends."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(_MOST_HEADER)
            match = _FIELD.fullmatch(line.decode("utf-8", "surrogateescape"))
            if not line or file.tell() > _MOST_HEADER or (match is None and line.strip()):
                raise damaged(path, "MetaImage")
            if match is not None:
                fields[match[1]] = match[2]
        end, listed = file.tell(), []
        if fields["ElementDataFile"].startswith("LIST"):
            listed = [line.strip() for line in file.read(_MOST_HEADER).decode("utf-8", "surrogateescape").splitlines() if line.strip()]
        return fields, listed, end


def _layout(path: Path, fields: Mapping[str, str], listed: list[str], end: int) -> VoxelLayout:
    axes = int(fields["NDims"])
    sizes = tuple(int(size) for size in fields["DimSize"].split())
    if not 2 <= axes <= _MOST_AXES or len(sizes) != axes or min(sizes) < 1:
        raise damaged(path, "MetaImage")
    if int(fields.get("ElementNumberOfChannels", 1)) != 1:
        raise InputError(f"{path} has colour or vector voxels; give an image with one number per voxel.")
    big = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    kind = fields["ElementType"].removesuffix("_ARRAY")
    if kind not in _TYPES:
        raise InputError(f"{path} has voxels of a type that cannot be read ({kind[:40]}); export it as whole numbers or float.")
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if big else "<")
    linear, origin, known = _geometry(path, fields, axes)
    spatial = range(axes)
    parts = _data(path, fields, listed, end, sizes, dtype)
    return VoxelLayout(
        path,
        sizes,
        dtype,
        parts,
        linear,
        origin,
        tuple(spatial[:3]),
        tuple(spatial[3:]),
        None,
        known,
        names=names_in_text(fields.get("Comment", "")),
    )


def _is_true(word: str) -> bool:
    """As MetaIO takes it: by the first letter."""
    return word[:1] in ("T", "t", "1")


def _numbers(fields: Mapping[str, str], names: tuple[str, ...], count: int) -> list[float] | None:
    for name in names:
        if name in fields:
            found = [float(word) for word in fields[name].split()]
            if len(found) != count:
                raise ValueError(f"{name} has {len(found)} of {count} numbers")
            return found
    return None


def _geometry(path: Path, fields: Mapping[str, str], axes: int) -> tuple[Any, Any, bool]:
    """Steps and origin in mm, and whether the size of voxels is known."""
    steps = _numbers(fields, ("ElementSpacing", "ElementSize"), axes)
    known = steps is not None and all(math.isfinite(step) and step != 0 for step in steps[:3])
    matrix = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), axes * axes)
    place = _numbers(fields, ("Offset", "Position", "Origin"), axes)
    used = min(axes, 3)
    linear, origin = np.eye(3), np.zeros(3)
    if matrix is not None:
        # Each row is the direction of an axis.
        linear[:used, :used] = np.reshape(matrix, (axes, axes)).T[:used, :used]
    if steps is not None and known:
        if min(steps[:used]) < 0:
            raise InputError(f"{path} has a negative distance between voxels; export it again.")
        linear[:, :used] *= steps[:used]
    if place is not None:
        origin[:used] = place[:used]
    unit = _MM.get(fields.get("DistanceUnits", ""), 1.0) if known else 1.0
    return linear * unit, origin * unit, known


def _data(
    path: Path, fields: Mapping[str, str], listed: list[str], end: int, sizes: tuple[int, ...], dtype: np.dtype[Any]
) -> list[Part] | Array:
    """Where the voxels lie; the voxels themselves where they are text."""
    named, count = fields["ElementDataFile"], math.prod(sizes)
    if named in ("LOCAL", "Local", "local"):
        starts = [(path, end)]
    elif named.startswith("LIST"):
        starts = [(data_file(path, name), 0) for name in listed]
    elif "%" in named:
        words = named.split()
        # The last number may be left out, then the first, as in MetaIO.
        starts = [(file, 0) for file in numbered_files(path, [words[0], *words[1:], *("1", str(sizes[-1]), "1")[len(words) - 1 :]])]
    else:
        starts = [(data_file(path, named), 0)]
    if not starts or count % len(starts):
        raise damaged(path, "MetaImage")
    if not _is_true(fields.get("BinaryData", "False")):
        if len(starts) > 1:
            raise InputError(f"{path} has its numbers as text in several files; save them in one.")
        try:
            return numbers_in(text_of(*starts[0], count), dtype, count)
        except ValueError as error:
            what = "is not True" if "BinaryData" in fields else "is missing"
            raise InputError(
                f"{path} should hold {count} numbers as text, as BinaryData {what}, but does not; correct its header."
            ) from error
    length, head = count // len(starts) * dtype.itemsize, int(fields.get("HeaderSize", 0))
    if head > 0:
        # Counted from the beginning of the file, whatever it is.
        starts = [(file, head) for file, _ in starts]
    if _is_true(fields.get("CompressedData", "False")):
        if int(fields.get("CompressedDataSize", 0)) > sum(file.stat().st_size - start for file, start in starts):
            raise InputError(f"{path} is cut off: not all of its packed bytes are there; copy or export it again.")
        return [Part(file, start, length, "zlib") for file, start in starts]
    if head < 0:
        return [Part(file, max(start, file.stat().st_size - length), length) for file, start in starts]
    return [Part(file, start, length, exact=head == 0) for file, start in starts]


def write_meta(volume: Volume, path: Path) -> None:
    """Write .mha, packed with zlib."""
    array, linear, origin = laid_out(volume)
    axes = array.ndim
    code = np.dtype(array.dtype).newbyteorder("=").str[1:]
    kind = next((name for name, known in _TYPES.items() if known == code), None)
    if kind is None:
        raise InputError(f"MetaImage cannot hold numbers of the kind {array.dtype}; use whole numbers or floats.")
    steps = np.linalg.norm(linear, axis=0)
    lines = [
        "ObjectType = Image",
        f"NDims = {axes}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {'0' * 12}",
        f"TransformMatrix = {_text((linear / steps).T.ravel())}",
        f"Offset = {_text(origin)}",
        f"CenterOfRotation = {_text(np.zeros(axes))}",
        f"ElementSpacing = {_text(steps)}",
        f"DimSize = {' '.join(str(size) for size in array.shape[::-1])}",
        *([f"Comment = {names_as_text(volume.names)}"] if volume.names else []),
        f"ElementType = {kind}",
        "ElementDataFile = LOCAL",
    ]
    with path.open("wb") as file:
        head = ("\n".join(lines) + "\n").encode()
        file.write(head)
        size = write_packed(file, array, "zlib")
        # Known only now; of the same length, so that nothing moves.
        file.seek(0)
        file.write(head.replace(b"0" * 12, b"%12d" % size, 1))


def _text(numbers: Any) -> str:
    return " ".join(f"{number + 0.0:.17g}" for number in numbers)
