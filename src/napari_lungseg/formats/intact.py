"""Are all pixels of a PNG or JPEG file there, and are they those that were written? Pillow does not look.

libpng's checksums are passed over by Pillow, and rows that are missing come as zeros. libjpeg makes up what is missing and only warns.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from napari_lungseg.volume import Array

_PNG = b"\x89PNG\r\n\x1a\n"
#: Numbers for each pixel by the colour type of a PNG.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: First column and row, and steps, of the passes of an interlaced PNG (Adam7).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20
#: What is put behind the data of a JPEG: read only where these end too early, and then as other pixels than the zeros that libjpeg takes.
_FILLING = b"\x5a\xa5\x33\xcc\x69" * 12


def check_png(data: bytes) -> None:
    """Raise ValueError where a chunk that matters has another checksum than it says, or rows are missing or left over."""
    header, packed = b"", []
    for kind, content, checksum in _chunks(data):
        # Letters in capitals: what pixels cannot be read without.
        if kind[:1].isupper() and zlib.crc32(content, zlib.crc32(kind)) != checksum:
            raise ValueError(f"the checksum of the chunk {kind!r} is wrong")
        header = content if kind == b"IHDR" else header
        packed += [content] if kind == b"IDAT" else []
        if kind == b"IEND":
            break
    else:
        raise ValueError("the end is missing")
    inflater, length, wanted = zlib.decompressobj(), 0, _png_length(header)
    for content in packed:
        while content and length <= wanted:
            length += len(inflater.decompress(content, _PIECE))
            content = inflater.unconsumed_tail
    if not inflater.eof or length != wanted:
        raise ValueError(f"{length} bytes of pixels in place of {wanted}")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        if place + 12 + length > len(data):
            return
        yield kind, content, struct.unpack_from(">I", data, place + 8 + length)[0]
        place += 12 + length


def _png_length(header: bytes) -> int:
    """Bytes of all rows, each with its filter before it."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * _CHANNELS[colour]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def check_jpeg(data: bytes, pixels: Array) -> None:
    """Raise ValueError where data of a JPEG end before its pixels do.

    Parameters
    ----------
    data : bytes
        The file.
    pixels : array
        What was decoded of it. Data that are whole give the same with something behind them, as nobody reads that.
    """
    with Image.open(io.BytesIO(_filled(data)), formats=("JPEG",)) as image:
        if not np.array_equal(np.asarray(image), pixels):
            raise ValueError("the pixels are not complete")


def _filled(data: bytes) -> bytes:
    """The file with a filling before each marker that ends data."""
    parts, place = [data[:2]], 2
    while place + 4 <= len(data):
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place] != 0xFF or marker == 0xD9:
            break
        parts.append(data[place : place + 2 + length])
        place += 2 + length
        restarts = 0
        while marker == 0xDA:
            end = data.find(b"\xff", place)
            while end >= 0 and data[end + 1 : end + 2] == b"\0":
                end = data.find(b"\xff", end + 2)
            if end < 0:
                return data
            # The data go on behind a restart marker; one too many does not matter.
            goes_on = 0xD0 <= data[end + 1] <= 0xD7
            parts += [data[place:end], _FILLING, bytes([0xFF, 0xD0 + restarts % 8]), b"" if goes_on else _FILLING]
            place = end + 2 if goes_on else end
            if not goes_on:
                break
            restarts += 1
    return b"".join([*parts, data[place:]])
