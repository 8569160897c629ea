"""DICOM files: which they are, how they are opened, and how their pixels are stored.

Files without the preamble or the group of file meta information are read too, as old archives and planning systems write them.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom import uid
from pydicom.dataelem import RawDataElement

#: The transfer syntax of a deflated file in its meta information, and what is put in its place once it is inflated.
_DEFLATED = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99"
_PLAIN = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1\0\0\0"
#: Meta information lies within so many bytes, and a header, which lists all frames, within so many.
_META, HEAD = 4096, 1 << 26
_PIXELS = (0x7FE0, 0x0010)
#: Value representations with four bytes for the length (PS3.5 7.1.2) that pixels may have.
_LONG = (b"OB", b"OW", b"UN")


@dataclass(frozen=True, eq=False)
class Stored:
    """How the pixels of a file are stored.

    Attributes
    ----------
    path : Path
        The file.
    syntax : str
        Transfer syntax; for deflated files that of what is inflated.
    place : int
        Where the element with the pixels begins.
    allocated, bits : int
        Bits that each number takes, and those of them that count.
    signed : bool or None
        Whether numbers are in two's complement; None where the file does not say.
    shift : int
        How far the bits that count lie above the lowest, by HighBit.
    frames : int
        How many there are.
    shape : tuple of int
        Rows and columns of each.
    """

    path: Path
    syntax: str
    place: int
    allocated: int
    bits: int
    signed: bool | None
    shift: int
    frames: int
    shape: tuple[int, int]

    @property
    def frame_bytes(self) -> int:
        """Size of a frame that is not packed."""
        return -(-self.shape[0] * self.shape[1] * self.allocated // 8)


class _Bounded(io.BufferedReader):
    """A file of which no more memory is asked for than it has bytes, whatever length an element promises."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _META:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


@contextmanager
def opened(path: Path, room: int = HEAD) -> Iterator[BinaryIO]:
    """The bytes of a file for pydicom; a deflated one is inflated, but no further than to ``room`` bytes."""
    with _Bounded(io.FileIO(path)) as stream:
        head = stream.read(_META)
        mark = head.find(_DEFLATED)
        if mark < 0 or head[128:132] != b"DICM":
            stream.seek(0)
            yield stream
            return
        start = 144 + struct.unpack("<I", head[140:144])[0]
        stream.seek(start)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), room)
        yield io.BytesIO(head[:mark] + _PLAIN + head[mark + len(_PLAIN) : start] + inflated)


def transfer_syntax(data: pydicom.Dataset) -> str:
    """The transfer syntax that a file names; where its elements are written otherwise, or it names none, the one that they show.

    To be called before any element is asked for.
    """
    named = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    if named and named not in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian):
        return str(named)
    implicit, little = data.original_encoding
    first: Any = data.get_item(next(iter(data.keys()))) if data else None
    if isinstance(first, RawDataElement):
        # pydicom goes by the elements too, and only keeps what was named.
        implicit = first.is_implicit_VR
    return str(uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian)


def pixels_start(stream: BinaryIO, stored: Stored) -> int:
    """Where the pixels of an unpacked file begin (ValueError where there are fewer than promised)."""
    stream.seek(stored.place)
    head = stream.read(12)
    if struct.unpack_from("<HH", head) != _PIXELS:
        raise ValueError("no pixels where they should be")
    if stored.syntax == uid.ImplicitVRLittleEndian and not (head[4:6] in _LONG and not any(head[6:8])):
        start, length = 8, struct.unpack_from("<I", head, 4)[0]
    elif head[4:6] in _LONG and stored.syntax != uid.ImplicitVRLittleEndian:
        start, length = 12, struct.unpack_from("<I", head, 8)[0]
    else:
        raise ValueError(f"pixels of the kind {head[4:6]!r}")
    there = stream.seek(0, io.SEEK_END) - stored.place - start
    if min(length, there) < stored.frames * stored.frame_bytes:
        raise ValueError(f"{min(length, there)} bytes of pixels in place of {stored.frames * stored.frame_bytes}")
    return stored.place + start
