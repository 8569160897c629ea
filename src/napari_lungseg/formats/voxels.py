"""Voxels in files: no more is asked for than the bytes that are there can hold, and packed ones are unpacked to the last."""

from __future__ import annotations

import bz2
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.formats.choice import Candidate, SeriesInfo, choose
from napari_lungseg.preprocess import judge_unit
from napari_lungseg.volume import Affine, Array, Volume

Packing = Literal["raw", "gzip", "zlib", "bzip2"]

_CHUNK = 1 << 18
_PIECE = 1 << 22
#: How many times smaller than its content packed data can be at most: deflate's limit, and bzip2's with its run lengths.
_MOST_PACKED = {"gzip": 1040, "zlib": 1040, "bzip2": 1_100_000}
#: First bytes of what is packed, where several such streams may follow one another.
_MAGIC = {"gzip": b"\x1f\x8b", "bzip2": b"BZh"}
#: Bytes behind the voxels that are padding and no sign of wrong sizes.
_PADDING = 512
#: Unpacked bytes behind the voxels that are passed over where the format allows them.
_MOST_PASSED = 1 << 26
#: How hard to pack: four times as fast as zlib's usual level, for files 3 % larger.
_LEVEL = 2
#: More points of time are no image.
_MOST_POINTS = 10_000


@dataclass(frozen=True)
class Part:
    """A run of voxels in a file.

    Attributes
    ----------
    path : Path
        The file.
    start : int
        Where the (packed) data begin in it.
    length : int
        Bytes of the voxels, unpacked.
    packing : {"raw", "gzip", "zlib", "bzip2"}
        How they are packed.
    skip : int
        Unpacked bytes before the voxels.
    exact : bool
        Whether more bytes than the voxels need are a sign of damage.
    """

    path: Path
    start: int
    length: int
    packing: Packing = "raw"
    skip: int = 0
    exact: bool = True


@dataclass(frozen=True)
class VoxelLayout:
    """What a header says of an image; axes are those of the file, the fastest first.

    Attributes
    ----------
    path : Path
        The file with the header.
    sizes : tuple of int
        Length of each axis.
    dtype : dtype
        Of the voxels, with their byte order.
    parts : sequence of Part
        Where the voxels lie, one after the other; or the voxels themselves, read from text.
    linear : (3, 3) array of float
        Columns are the steps in LPS mm along the spatial axes; of a flat image the third is its normal.
    origin : (3,) array of float
        LPS mm of the first voxel's centre.
    spatial : tuple of int
        The two or three axes that lie in space.
    points : tuple of int
        The others, along which there are several images.
    notes : tuple of str
        As of :class:`~napari_lungseg.volume.Volume`.
    scale : (float, float) or None
        Slope and intercept to be applied to the numbers.
    spacing_known, oriented : bool
        As of :class:`~napari_lungseg.volume.Volume`.
    names : mapping of int to str, or None
        As of :class:`~napari_lungseg.volume.Volume`.
    """

    path: Path
    sizes: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Sequence[Part] | Array
    linear: npt.NDArray[np.float64]
    origin: npt.NDArray[np.float64]
    spatial: tuple[int, ...]
    points: tuple[int, ...] = ()
    scale: tuple[float, float] | None = None
    spacing_known: bool = True
    oriented: bool = True
    notes: tuple[str, ...] = ()
    names: Mapping[int, str] | None = None


def damaged(path: Path, name: str) -> InputError:
    """Make the error for a file whose header makes no sense."""
    return InputError(f"{path} is damaged or not a {name} file; copy or export it again.")


def image_of(layout: VoxelLayout, series: str | None) -> Volume:
    """Read an image; where there are several points of time, the one that is asked for.

    Raises
    ------
    SeriesChoiceError
        When there are several and it is not clear which is meant.
    InputError
        When voxels are missing or damaged.
    """
    sizes = layout.sizes
    check_lengths(layout)
    counts = tuple(sizes[axis] for axis in layout.points)
    if math.prod(counts) > _MOST_POINTS:
        raise InputError(f"{layout.path} has {math.prod(counts)} points of time, which is no image; export it again.")
    indices = list(np.ndindex(*counts[::-1]))
    shape = tuple(sizes[axis] for axis in reversed(layout.spatial))
    spacing = tuple(float(step) for step in np.linalg.norm(layout.linear, axis=0))[: len(shape)][::-1]
    candidates = [
        Candidate(SeriesInfo(str(number), "", "", shape, spacing, f"time {number}"), index) for number, index in enumerate(indices, 1)
    ]
    index = candidates[0].image if len(candidates) == 1 else choose(candidates, series, layout.path).image
    if layout.points and min(layout.points) < max(layout.spatial):
        array = arranged(layout)[index]
    else:
        # Of images one behind the other only the one that is meant takes memory.
        count = math.prod(shape)
        number = int(np.ravel_multi_index(index, counts[::-1])) if index else 0
        array = _native(_loaded(layout, number * count, count)).reshape(shape)
    if layout.scale is not None:
        array = _scaled(array, *layout.scale)
    affine = np.eye(4)
    affine[:3, :3] = layout.linear[:, ::-1]
    affine[:3, 3] = layout.origin
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise InputError(f"{layout.path} has a geometry that is not usable: its axes do not span a space; export it again.")
    told = judge_unit(array)
    notes = (*layout.notes, told.why) if told.is_doubtful else layout.notes
    return Volume(array, affine, told.unit, layout.spacing_known, layout.oriented, notes, layout.names, told.why)


def arranged(layout: VoxelLayout) -> Array:
    """Read all images, with the points of time first and the spatial axes last, each in the order of numpy (slowest first)."""
    check_lengths(layout)
    array = _native(_loaded(layout, 0, math.prod(layout.sizes))).reshape(layout.sizes[::-1])
    last = len(layout.sizes) - 1
    return np.ascontiguousarray(array.transpose([last - axis for axis in (*reversed(layout.points), *reversed(layout.spatial))]))


def check_lengths(layout: VoxelLayout) -> None:
    """Refuse files that cannot hold what the header says (InputError), before any of it is read."""
    if isinstance(layout.parts, np.ndarray):
        return
    for part in layout.parts:
        if not part.path.is_file():
            raise InputError(f"{layout.path} names {part.path.name} as its data, which is not there; copy both files.")
        there, wanted = part.path.stat().st_size - part.start, part.skip + part.length
        if part.packing != "raw":
            if there * _MOST_PACKED[part.packing] < wanted:
                raise InputError(f"{part.path} is cut off: its {max(0, there)} packed bytes cannot hold {wanted}; copy or export it again.")
        elif there < wanted:
            raise InputError(f"{part.path} is cut off: {max(0, there)} of {wanted} bytes are there; copy or export it again.")
        elif part.exact and there > wanted + _PADDING:
            raise _too_much(part)


def unpacked(file: BinaryIO, packing: Packing) -> Iterator[bytes]:
    """Unpack a file from where it stands, in pieces; checksums are compared at the end of each packed stream.

    What follows the packed data is passed over.

    Raises
    ------
    zlib.error, OSError, EOFError
        When the data are damaged or cut off.
    """
    unpacker, data, full = _unpacker(packing), b"", False
    while True:
        if not data and not full:
            data = file.read(_CHUNK)
            if not data:
                raise EOFError("cut off")
        piece = unpacker.decompress(data, _PIECE)
        full, data = len(piece) == _PIECE, getattr(unpacker, "unconsumed_tail", b"")
        if piece:
            yield piece
        if unpacker.eof:
            data = unpacker.unused_data
            if len(data) < 3:
                data += file.read(_CHUNK)
            if packing not in _MAGIC or not data.startswith(_MAGIC[packing]):
                return
            unpacker, full = _unpacker(packing), False


def text_of(path: Path, start: int, count: int) -> bytes:
    """Read text that should hold ``count`` numbers (ValueError where it is too short for them)."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size - start
        if length < 2 * count - 1:
            raise ValueError("too few numbers")
        file.seek(start)
        return file.read(min(length, 64 * count))


def numbers_in(text: bytes, dtype: np.dtype[Any], count: int) -> Array:
    """Take numbers from text, separated by white space or commas (ValueError where they are not ``count`` numbers of that type)."""
    words = text.replace(b",", b" ").split()
    if len(words) != count:
        raise ValueError(f"{len(words)} of {count} numbers")
    native = dtype.newbyteorder("=")
    if native.kind == "f":
        return np.array(words, dtype=np.bytes_).astype(native)
    limits, values = np.iinfo(native), [int(word) for word in words]
    if values and (min(values) < limits.min or max(values) > limits.max):
        raise ValueError("a number does not fit its type")
    return np.array(values, dtype=native)


def _loaded(layout: VoxelLayout, first: int, count: int) -> Array:
    """Read ``count`` voxels from the one of number ``first`` on."""
    if isinstance(layout.parts, np.ndarray):
        return layout.parts[first : first + count]
    size = layout.dtype.itemsize
    low, high, position = first * size, (first + count) * size, 0
    out = np.empty(high - low, np.uint8)
    for part in layout.parts:
        begin, end = max(low - position, 0), min(high - position, part.length)
        if begin < end:
            target = out[position + begin - low : position + end - low]
            try:
                (_copy_raw if part.packing == "raw" else _copy_unpacked)(part, begin, target)
            except (zlib.error, EOFError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                what = "cut off" if isinstance(error, EOFError) else "damaged: its packed data do not unpack"
                raise InputError(f"{part.path} is {what}; copy or export it again.") from error
        position += part.length
    return out.view(layout.dtype)


def _copy_raw(part: Part, begin: int, target: Array) -> None:
    with part.path.open("rb") as file:
        file.seek(part.start + part.skip + begin)
        if file.readinto(memoryview(target)) != target.size:  # type: ignore[arg-type]
            raise EOFError("cut off")


def _copy_unpacked(part: Part, begin: int, target: Array) -> None:
    """Unpack all, also behind what is wanted, so that the checksum at the end is compared."""
    low, high = part.skip + begin, part.skip + begin + target.size
    end, passed = part.skip + part.length, _PADDING if part.exact else max(_MOST_PASSED, part.length)
    position = 0
    with part.path.open("rb") as file:
        file.seek(part.start)
        for piece in unpacked(file, part.packing):
            start, stop = max(low, position), min(high, position + len(piece))
            if start < stop:
                target[start - low : stop - low] = np.frombuffer(piece, np.uint8, stop - start, start - position)
            position += len(piece)
            if position > end + passed:
                raise _too_much(part)
    if position < end:
        raise InputError(f"{part.path} is cut off: {position} of {end} bytes are there; copy or export it again.")


def _too_much(part: Part) -> InputError:
    return InputError(
        f"{part.path} holds more bytes than its header's sizes need ({part.length}); one of both is damaged; export it again."
    )


def _unpacker(packing: Packing) -> Any:
    if packing == "bzip2":
        return bz2.BZ2Decompressor()
    # 16 asks for gzip, 32 for gzip or zlib.
    return zlib.decompressobj(zlib.MAX_WBITS + (16 if packing == "gzip" else 32))


def _native(array: Array) -> Array:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _scaled(array: Array, slope: float, intercept: float) -> Array:
    """Numbers times slope plus intercept, slice by slice, so that no large temporary array is made."""
    out = np.empty(array.shape, np.float64 if array.dtype == np.float64 else np.float32)
    for plane, result in zip(array, out):
        result[...] = plane * np.float64(slope) + intercept
    return out


def write_packed(file: BinaryIO, array: Array, packing: Packing, head: bytes = b"") -> int:
    """Write voxels slice by slice to the end of a file, with a head that is packed with them, and check that all of it is there.

    Returns
    -------
    written : int
        Bytes that were written.

    Raises
    ------
    OSError
        When the disk refuses, also where it only took a part.
    """
    begun, packer = file.tell(), None
    if packing != "raw":
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS + (16 if packing == "gzip" else 0))
    file.write(head if packer is None else packer.compress(head))
    for plane in array if array.ndim > 2 else [array]:
        data = np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).data.cast("B")
        file.write(data if packer is None else packer.compress(data))
    if packer is not None:
        file.write(packer.flush())
    file.flush()
    os.fsync(file.fileno())
    if os.fstat(file.fileno()).st_size != file.tell():
        raise OSError("the file is shorter than what was written to it")
    return file.tell() - begun


def is_flat(volume: Volume) -> bool:
    """Whether two axes say all of a two-dimensional image's geometry; else it is written as a volume of one slice."""
    affine = volume.affine
    return bool(np.array_equal(affine[:2, 0], (0, 0)) and np.array_equal(affine[2], (1, 0, 0, 0)))


def laid_out(volume: Volume) -> tuple[Array, Affine, Affine]:
    """Voxels as NRRD and MetaImage take them, of two or three axes; steps in LPS mm along the file's axes, and the first voxel's place."""
    array, affine = storable(volume.array), volume.affine
    axes = 2 if array.ndim == 2 and is_flat(volume) else 3
    return array.reshape((1,) * (axes - array.ndim) + array.shape), affine[:axes, 3 - axes : 3][:, ::-1], affine[:axes, 3]


def storable(array: Array) -> Array:
    """Voxels of a type that NIfTI, NRRD and MetaImage have: truth values as numbers, short fractions as longer ones."""
    array = np.asarray(array)
    return array.astype({"b": np.uint8}.get(array.dtype.kind, np.float32)) if array.dtype in (np.bool_, np.float16) else array
