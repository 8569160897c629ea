"""The rows in a damaged SQLite file, read from its pages without SQLite, which refuses more than what is damaged.

The format is documented (https://www.sqlite.org/fileformat2.html). A row is found by the page that holds it; nothing above it, neither the
file's header nor the tables' trees, need be sound. What is a row, and of which table, is for the caller to decide: by its checksum.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from napari_lungseg.workspace.log import read_log

#: Sizes of pages that SQLite makes, that of the journal first.
_SIZES = (4096, *(1 << power for power in (9, 10, 11, 13, 14, 15, 16)))
_LEAF = 13
#: Where a row's own header may begin: its length, and the number that is kept outside of it.
_HEADER = re.compile(rb"(?=[\x04-\x14]\x00)")

#: Takes the values of what may be a row, and whether the page lists it; tells whether it is one.
Take = Callable[[list[Any], bool], bool]


def each_row(path: Path, take: Take) -> bool:
    """Hand over the values of everything in a database that may be a row of a table.

    Returns
    -------
    whole : bool
        Whether neither the end of the file nor entries of its log are known to be missing.

    Parameters
    ----------
    path : Path
        The database; its write-ahead log is read with it.
    take : callable
        Gets the values, the row's number in place of the first.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    data, log = path.read_bytes(), read_log(path)
    (size,) = struct.unpack(">H", data[16:18].ljust(2, b"\0"))
    later = log.pages
    size = size if size in _SIZES else len(next(iter(later.values()), b"")) or _SIZES[0]
    found = _scan(data, later, size, take)
    if log.is_damaged:
        # A part of it may have been copied into the database, whose pages then are newer. A row is never changed, so all may be taken.
        found |= _scan(data, {}, size, take)
        found |= _scan(data, later | log.beyond, size, take)
    if not found and size != _SIZES[0]:
        _scan(data, {}, _SIZES[0], take)
    counted, count, counted_at = (struct.unpack(">I", data[at : at + 4].ljust(4, b"\0"))[0] for at in (24, 28, 92))
    is_short = counted == counted_at and count > max(len(data) // size, *later, 0)
    return not (log.is_damaged or is_short)


def _scan(data: bytes, later: dict[int, bytes], size: int, take: Take) -> bool:
    """Go through all pages; tells whether there was a row."""
    file = _File(data, later, size)
    used: set[int] = set()
    left = []
    for number in file.numbers():
        page, start = file.page(number), 100 if number == 1 else 0
        # A page that is no leaf, or whose type is damaged, has no list that could be trusted.
        whole = page[start] == _LEAF
        for offset in _listed(page, start) if whole else ():
            chain = _take_at(file, page, offset, take, True)
            whole &= chain is not None
            used.update(chain or ())
        if not whole:
            left.append(number)
    # Overflow pages of sound rows hold nothing else.
    for number in left:
        if number not in used:
            page = file.page(number)
            for match in _HEADER.finditer(page):
                for offset in range(max(0, match.start() - 13), match.start() - 1):
                    if _ends_at(page, offset, match.start()):
                        used.update(_take_at(file, page, offset, take, False) or ())
    return bool(used)


def _take_at(file: _File, page: bytes, offset: int, take: Take, listed: bool) -> list[int] | None:
    """Hand over what may be a row there; gives its pages if it was one, the 0 for its own."""
    try:
        number, payload, chain = file.cell(page, offset)
        values = _values(payload)
    except (IndexError, ValueError, struct.error):
        return None
    if not values or values[0] is not None:
        return None  # where SQLite keeps the number elsewhere, it writes nothing in its place
    return [0, *chain] if take([number, *values[1:]], listed) else None


class _File:
    """A database as numbered pages."""

    def __init__(self, data: bytes, later: dict[int, bytes], size: int) -> None:
        self._data, self._later, self._size = data, later, size

    def numbers(self) -> range:
        return range(1, max(len(self._data) // self._size, *self._later, 0) + 1)

    def page(self, number: int) -> bytes:
        found = self._later.get(number) or self._data[(number - 1) * self._size : number * self._size]
        if number < 1 or len(found) != self._size:
            raise ValueError
        return found

    def cell(self, page: bytes, offset: int) -> tuple[int, bytes, list[int]]:
        """Number and content of the row that begins there, and on which further pages it lies."""
        length, offset = _varint(page, offset)
        number, offset = _varint(page, offset)
        if length > len(self._data) + len(self._later) * self._size:
            raise ValueError
        most, least = self._size - 35, (self._size - 12) * 32 // 255 - 23
        local = least + (length - least) % (self._size - 4)
        local = length if length <= most else local if local <= most else least
        parts, chain = [page[offset : offset + local]], []
        missing = length - local
        follow = page[offset + local : offset + local + 4]
        while missing > 0:
            (following,) = struct.unpack(">I", follow)
            further = self.page(following)
            chain.append(following)
            parts.append(further[4 : 4 + missing])
            missing -= self._size - 4
            follow = further[:4]
        payload = b"".join(parts)
        if len(payload) != length:
            raise ValueError
        return number - (1 << 64) if number >> 63 else number, payload, chain


def _listed(page: bytes, start: int) -> Iterator[int]:
    """Where the rows of a leaf page begin."""
    (count,) = struct.unpack(">H", page[start + 3 : start + 5])
    for index in range(min(count, (len(page) - start - 8) // 2)):
        yield struct.unpack_from(">H", page, start + 8 + 2 * index)[0]


def _ends_at(page: bytes, offset: int, end: int) -> bool:
    """Whether the two numbers before a row's header fit there."""
    return _varint(page, _varint(page, offset)[1])[1] == end


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for index in range(9):
        byte = data[offset + index]
        if index == 8:
            return value << 8 | byte, offset + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + index + 1
    raise AssertionError


def _values(payload: bytes) -> list[Any]:
    """The values of a row; ValueError where it is none."""
    end, offset = _varint(payload, 0)
    body = end
    values: list[Any] = []
    while offset < end:
        kind, offset = _varint(payload, offset)
        if kind in (7, 10, 11):
            raise ValueError  # the journal has no such values
        length = (0, 1, 2, 3, 4, 6, 8, 0, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        part = payload[body : body + length]
        if len(part) != length or len(values) > 20:
            raise ValueError
        body += length
        if kind == 0:
            values.append(None)
        elif kind < 10:
            values.append(kind - 8 if kind > 7 else int.from_bytes(part, "big", signed=True))
        else:
            values.append(part.decode("utf-8", "surrogateescape") if kind % 2 else part)
    if offset != end or body != len(payload):
        raise ValueError
    return values
