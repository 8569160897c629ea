"""Pixels of DICOM slices, in HU.

Uncompressed and RLE files are decoded by pydicom itself, the others by imagecodecs, as neither has what the other knows and
no package with a licence like ours does all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.utils import iter_pixels

from napari_lungseg.errors import InputError
from napari_lungseg.formats.dicom.headers import Frame
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


def read_pixels(frames: Sequence[Frame]) -> Array:
    """Pixels of slices of one shape, each rescaled by its own slope and intercept.

    Returns
    -------
    array
        (Z, Y, X), in the order of ``frames``; int16 unless the numbers need more.

    Raises
    ------
    InputError
        For a file whose pixels are damaged or packed in an unknown way.
    """
    array: Array = np.empty((len(frames), *frames[0].shape), dtype=np.int16)
    for place, plane in _planes(frames):
        plane = _rescaled(plane, frames[place].rescale)
        wanted = np.promote_types(array.dtype, _smallest(plane))
        array = array if wanted == array.dtype else array.astype(wanted)
        array[place] = plane
    return array


def _planes(frames: Sequence[Frame]) -> Iterator[tuple[int, Array]]:
    """Stored pixels with the place of their slice, file by file."""
    files: dict[Any, list[int]] = {}
    for place, frame in enumerate(frames):
        files.setdefault(frame.path, []).append(place)
    for path, places in files.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for place, plane in zip(places, _decoded(path, [frames[place].index for place in places]), strict=True):
                    if plane.shape != frames[place].shape:
                        raise InputError(f"{path} has pixels of shape {plane.shape}, not one grey slice; export it again.")
                    yield place, plane
        except InputError:
            raise
        except Exception as error:  # decoders raise whatever the damage makes them stumble over
            raise InputError(f"The pixels of {path} are damaged, cut off or packed in an unknown way; copy or export it again.") from error


def _decoded(path: Any, indices: list[int]) -> Iterator[Array]:
    with path.open("rb") as stream:
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", uid.ImplicitVRLittleEndian)
        decode = _DECODERS.get(syntax)
        if decode is None:
            yield from iter_pixels(stream, indices=indices, raw=True)
            return
        data = pydicom.dcmread(
            stream,
            specific_tags=[
                "NumberOfFrames",
                "BitsStored",
                "PixelRepresentation",
                "PixelData",
                "ExtendedOffsetTable",
                "ExtendedOffsetTableLengths",
            ],
        )
    offsets = (data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in data else None
    count = int(data.get("NumberOfFrames") or 1)
    for index in indices:
        plane = decode(get_frame(data.PixelData, index, number_of_frames=count, extended_offsets=offsets))
        yield _signed(plane, int(data.BitsStored)) if data.PixelRepresentation == 1 else plane


def _signed(plane: Array, bits: int) -> Array:
    """Numbers in two's complement of so many bits; JPEG knows no signs."""
    if plane.dtype.kind == "i":
        return plane
    unused = 8 * plane.dtype.itemsize - bits
    return (plane << unused).view(f"i{plane.dtype.itemsize}") >> unused


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
