"""Pixels of DICOM slices, in HU.

RLE files are decoded by pydicom, other packed ones by imagecodecs, as neither has what the other knows and no package with a
licence like ours does all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.utils import iter_pixels

from napari_lungseg.errors import InputError, reading
from napari_lungseg.formats.dicom.headers import Frame
from napari_lungseg.formats.dicom.part10 import HEAD, Stored, opened, pixels_start
from napari_lungseg.volume import Array

_DECODERS: dict[str, Callable[[bytes], Array]] = {
    uid.JPEGBaseline8Bit: imagecodecs.jpeg8_decode,
    uid.JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    uid.JPEGLossless: imagecodecs.jpegsof3_decode,
    uid.JPEGLosslessSV1: imagecodecs.jpegsof3_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
    uid.HTJ2KLossless: imagecodecs.jpeg2k_decode,
    uid.HTJ2KLosslessRPCL: imagecodecs.jpeg2k_decode,
    uid.HTJ2K: imagecodecs.jpeg2k_decode,
}

_UNPACKED = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)
#: Bits of numbers of which two share three bytes.
_TWELVE = 12
#: Frames larger than this, in bytes, may be packed into no less than this part; blank ones of usual size may.
_LARGE, _MOST_PACKED = 1 << 27, 2000


def read_pixels(frames: Sequence[Frame]) -> Array:
    """Pixels of slices of one shape, each rescaled by its own slope and intercept.

    Memory for all is asked for only when the first slice was there as promised.

    Returns
    -------
    array
        (Z, Y, X), in the order of ``frames``; int16 unless the numbers need more.

    Raises
    ------
    InputError
        For a file whose pixels are damaged or packed in an unknown way.
    """
    array: Array = np.empty(0, dtype=np.int16)
    for place, plane in _planes(frames):
        plane = _rescaled(plane, frames[place].rescale)
        wanted = np.promote_types(array.dtype, _smallest(plane))
        if not array.size:
            array = np.empty((len(frames), *plane.shape), dtype=wanted)
        array = array if wanted == array.dtype else array.astype(wanted)
        array[place] = plane
    return array


def read_radiograph(frame: Frame) -> Array:
    """(Y, X) pixels of a radiograph, rescaled, high numbers bright."""
    _, plane = next(_planes([frame]))
    if frame.is_inverted and plane.dtype.kind == "u":
        plane = plane.dtype.type((1 << frame.stored.bits) - 1) - plane
    return plane


def _planes(frames: Sequence[Frame]) -> Iterator[tuple[int, Array]]:
    """Stored pixels with the place of their slice, file by file."""
    files: dict[Any, list[int]] = {}
    for place, frame in enumerate(frames):
        files.setdefault(frame.path, []).append(place)
    for path, places in files.items():
        stored = frames[places[0]].stored
        with reading(path, f"The pixels of {path} are damaged or cut off; copy or export it again."):
            for place, plane in zip(places, _decoded(stored, [frames[place].index for place in places]), strict=True):
                if plane.shape != stored.shape:
                    raise InputError(f"{path} has pixels of shape {plane.shape}, not one grey slice; export it again.")
                yield place, plane


def _decoded(stored: Stored, indices: list[int]) -> Iterator[Array]:
    # A deflated file is inflated as far as its pixels should reach.
    with opened(stored.path, stored.place + stored.frames * stored.frame_bytes + HEAD) as stream:
        if stored.syntax in _UNPACKED:
            start = pixels_start(stream, stored)
            for index in indices:
                stream.seek(start + index * stored.frame_bytes)
                yield _meant(_unpacked(stream.read(stored.frame_bytes), stored), stored)
        elif stored.syntax in (uid.RLELossless, uid.ExplicitVRBigEndian):
            stream.seek(0)
            yield from iter_pixels(stream, indices=indices, raw=True)
        elif stored.syntax in _DECODERS:
            yield from _unpacked_by(_DECODERS[stored.syntax], stream, stored, indices)
        else:
            raise InputError(f"{stored.path} is packed in a way that is not known ({uid.UID(stored.syntax).name}); export it unpacked.")


def _unpacked(raw: bytes, stored: Stored) -> Array:
    if stored.allocated != _TWELVE:
        return np.frombuffer(raw, f"<u{stored.allocated // 8}").reshape(stored.shape)
    if stored.shape[0] * stored.shape[1] % 2:
        raise InputError(f"{stored.path} packs an odd count of numbers of 12 bits, which is not read; export it with 16 bits.")
    first, middle, last = np.frombuffer(raw, np.uint8).astype(np.uint16).reshape(-1, 3).T
    return np.stack([first | (middle & 15) << 8, middle >> 4 | last << 4], axis=1).reshape(stored.shape)


def _unpacked_by(decode: Callable[[bytes], Array], stream: BinaryIO, stored: Stored, indices: list[int]) -> Iterator[Array]:
    data = pydicom.dcmread(stream, specific_tags=["PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"], force=True)
    offsets = (data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in data else None
    for index in indices:
        packed = get_frame(data.PixelData, index, number_of_frames=stored.frames, extended_offsets=offsets)
        shape = promised_shape(packed)
        if shape is not None and shape != stored.shape:
            raise InputError(f"{stored.path} has pixels of shape {shape}, not {stored.shape}, as it says; export it again.")
        if stored.frame_bytes > _LARGE and stored.frame_bytes > _MOST_PACKED * len(packed):
            raise InputError(f"{stored.path} promises {stored.frame_bytes} bytes of pixels in {len(packed)} bytes; export it again.")
        yield _meant(decode(packed), stored)


def promised_shape(packed: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream promises; None where it does not say."""
    if packed[:4] == b"\xff\x4f\xff\x51":
        width, height, left, top = struct.unpack_from(">IIII", packed, 8)
        return height - top, width - left
    place = 2
    while place + 9 <= len(packed) and packed[place] == 0xFF:
        marker, length, rows, columns = packed[place + 1], *struct.unpack_from(">HxHH", packed, place + 2)
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return rows, columns
        place += 2 + length
    return None


def _meant(plane: Array, stored: Stored) -> Array:
    """Numbers without what lies above the bits that count, in two's complement where they have a sign; JPEG knows none."""
    # Many files give a HighBit that is not theirs: then the bits below what counts are in use.
    if stored.shift and plane.dtype.kind == "u" and not (plane & plane.dtype.type((1 << stored.shift) - 1)).any():
        plane = plane >> stored.shift
    unused = 8 * plane.dtype.itemsize - stored.bits
    if unused < 0 or plane.dtype.kind == "f":
        return plane
    if stored.signed or plane.dtype.kind == "i":
        return (plane.view(f"u{plane.dtype.itemsize}") << unused).view(f"i{plane.dtype.itemsize}") >> unused
    return plane & plane.dtype.type((1 << stored.bits) - 1) if unused else plane


def _rescaled(plane: Array, rescale: tuple[float, float] | None) -> Array:
    if rescale is None:
        return plane
    slope, intercept = rescale
    if slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < 1 << 15:
        return plane.astype(np.int64 if plane.dtype.itemsize > 2 else np.int32) * int(slope) + int(intercept)
    return plane * slope + intercept


def _smallest(plane: Array) -> np.dtype[Any]:
    """int16 where the numbers fit, as HU hardly need more."""
    if plane.dtype.kind == "f":
        return np.dtype(np.float32)
    limits = np.iinfo(np.int16)
    return np.dtype(np.int16 if plane.min() >= limits.min and plane.max() <= limits.max else np.int32)
