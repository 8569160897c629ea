"""The write-ahead log of an SQLite file, read without SQLite, which passes over all that follows damage without a word.

The format is documented (https://www.sqlite.org/fileformat2.html#walformat, https://www.sqlite.org/walformat.html).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_MAGIC = (0x377F0682, 0x377F0683)
_SIZES = tuple(1 << power for power in range(9, 17))
_HEAD, _FRAME, _INDEX = 32, 24, 136
_USUAL_SIZE = 4096


@dataclass(frozen=True)
class Log:
    """What a log holds.

    Attributes
    ----------
    pages : dict of int to bytes
        The last state of each page, by its number, of all transactions up to the first damage.
    beyond : dict of int to bytes
        The same of those behind it: what of them is sound is for the checksums of the rows to tell.
    is_damaged : bool
        Whether transactions are missing or damaged that were on disk.
    """

    pages: dict[int, bytes]
    beyond: dict[int, bytes]
    is_damaged: bool


class _Frame(NamedTuple):
    page: int
    ends: int
    salts: tuple[int, ...]
    sums: tuple[int, ...]
    start: int


class _Index(NamedTuple):
    """What processes share: how many frames are whole, and how many of them were copied into the database."""

    frames: int
    copied: int
    salts: tuple[int, ...]


def read_log(database: Path) -> Log:
    """Read the log of a database into which nobody writes (OSError where it cannot be read).

    A process that is killed leaves a part of a transaction at the end, of which nobody was told that it was saved; that is no damage.
    """
    log, index = (database.with_name(f"{database.name}-{end}") for end in ("wal", "shm"))
    data = log.read_bytes() if log.exists() else b""
    shared = _shared(index.read_bytes()) if index.exists() else None
    if len(data) <= _HEAD:
        return Log({}, {}, shared is not None and shared.frames > shared.copied)
    magic, _, size, _, *salts = struct.unpack_from(">6I", data)
    order = ">" if magic & 1 else "<"
    sums = _sum(data[:24], (0, 0), order)
    is_sound = magic in _MAGIC and size in _SIZES and struct.unpack_from(">2I", data, 24) == sums
    size = size if is_sound else _USUAL_SIZE
    frames = _frames(data, size)
    own = tuple(salts) if is_sound else frames[0].salts if frames else ()
    whole = _whole(data, frames, own, sums, order, size) if is_sound else 0
    # Behind the log there may be what an earlier round, whose numbers are others, has left.
    behind = [frame for frame in frames[whole:] if any(one == other for one, other in zip(frame.salts, own, strict=True))]
    while behind and not behind[-1].ends:
        behind.pop()
    if is_sound and shared is not None and shared.salts == own:
        is_damaged = shared.frames > whole
    else:
        rest = data[_HEAD + len(frames) * (_FRAME + size) :]
        is_damaged = bool(behind) or not is_sound or (bool(rest) and data[16:24].startswith(rest[8:16]))
    # A database grows by the log alone.
    most = database.stat().st_size // size + len(frames)
    pages, beyond = (
        {frame.page: data[frame.start : frame.start + size] for frame in some if frame.page <= most} for some in (frames[:whole], behind)
    )
    return Log(pages, beyond, is_damaged)


def _frames(data: bytes, size: int) -> list[_Frame]:
    found = []
    for start in range(_HEAD, len(data) - size - _FRAME + 1, size + _FRAME):
        page, ends, *rest = struct.unpack_from(">6I", data, start)
        found.append(_Frame(page, ends, tuple(rest[:2]), tuple(rest[2:]), start + _FRAME))
    return found


def _whole(data: bytes, frames: Sequence[_Frame], salts: tuple[int, ...], sums: tuple[int, int], order: str, size: int) -> int:
    """How many frames at the beginning are sound and make whole transactions."""
    whole = 0
    for count, frame in enumerate(frames, 1):
        head = data[frame.start - _FRAME : frame.start - _FRAME + 8]
        sums = _sum(data[frame.start : frame.start + size], _sum(head, sums, order), order)
        if (frame.salts, frame.sums) != (salts, sums):
            break
        whole = count if frame.ends else whole
    return whole


def _shared(data: bytes) -> _Index | None:
    """The index that processes share; None where it is damaged, of another layout or not begun."""
    if len(data) < _INDEX or data[:48] != data[48:96]:
        return None
    order = "<" if sys.byteorder == "little" else ">"
    if not data[12] or struct.unpack_from(f"{order}2I", data, 40) != _sum(data[:40], (0, 0), order):
        return None
    (frames,), (copied,) = struct.unpack_from(f"{order}I", data, 16), struct.unpack_from(f"{order}I", data, 96)
    return _Index(frames, copied, struct.unpack_from(">2I", data, 32))


def _sum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = one + first + two & 0xFFFFFFFF
        two = two + second + one & 0xFFFFFFFF
    return one, two
