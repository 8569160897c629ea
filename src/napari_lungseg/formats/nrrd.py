"""NRRD (.nrrd, .nhdr), read and written by the standard (teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.formats.beside import data_file, numbered_files
from napari_lungseg.formats.voxels import Packing, Part, VoxelLayout, damaged, image_of, laid_out, numbers_in, text_of, write_packed
from napari_lungseg.labels import names_as_text, names_in_text
from napari_lungseg.volume import Array, Volume

#: Headers are shorter than this, with hundreds of segments as well.
_MOST_HEADER = 1 << 24
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("unsigned char", "uchar", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("unsigned short", "ushort", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("unsigned int", "uint", "uint32", "uint32_t"),
    "i8": ("long long int", "longlong", "long long", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("unsigned long long int", "ulonglong", "unsigned long long", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_PACKINGS: dict[str, Packing] = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2"}
_TEXTS = ("txt", "text", "ascii", "hex")
#: Signs of x and y in LPS, of spaces that tell how the patient lies; each may have time as a fourth axis.
_SPACES = {
    "right-anterior-superior": (-1.0, -1.0),
    "ras": (-1.0, -1.0),
    "left-anterior-superior": (1.0, -1.0),
    "las": (1.0, -1.0),
    "left-posterior-superior": (1.0, 1.0),
    "lps": (1.0, 1.0),
}
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "micron": 1e-3, "microns": 1e-3, "nm": 1e-6}
#: Kinds of axes that lie in space or say nothing, and of those along which there are several images; all others hold colours or vectors.
_SPATIAL = ("", "???", "none", "domain", "space")
_SEVERAL = ("time", "list")
_FIELD = re.compile(r"([^:=]+?)(:=|:\s)(.*)", re.DOTALL)
_SYNONYMS = {
    "centerings": "centers",
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
}
#: All fields that a header may have.
_KNOWN = {
    *("number", "content", "type", "block size", "blocksize", "dimension", "space", "space dimension", "sizes", "spacings", "thicknesses"),
    *("axis mins", "axis maxs", "space directions", "centers", "kinds", "labels", "units", "min", "max", "old min", "oldmin"),
    *("old max", "oldmax", "endian", "encoding", "line skip", "byte skip", "sample units", "sampleunits", "space units", "space origin"),
    *("measurement frame", "data file"),
}


@dataclass(frozen=True)
class NrrdHeader:
    """A header: fields of the format, keys with values, and what they say of the image."""

    fields: dict[str, str]
    keys: dict[str, str]
    layout: VoxelLayout


def read_nrrd(path: Path, series: str | None = None) -> Volume:
    """Read .nrrd or .nhdr; of a time series the point that is asked for."""
    return image_of(read_header(path).layout, series)


def read_header(path: Path) -> NrrdHeader:
    """Read the header and check all that is needed of it (InputError where it makes no sense)."""
    try:
        fields, keys, listed, end = _parsed(path)
        return NrrdHeader(fields, keys, _layout(path, fields, listed, end))
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise damaged(path, "NRRD") from error


def _parsed(path: Path) -> tuple[dict[str, str], dict[str, str], list[str], int]:
    """Fields, keys, names of data files that follow, and where the header ends."""
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    listed: list[str] = []
    with path.open("rb") as file:
        if not re.fullmatch(rb"NRRD000\d\r?\n?", file.readline(16)):
            raise damaged(path, "NRRD")
        while line := file.readline(_MOST_HEADER):
            if file.tell() > _MOST_HEADER:
                raise damaged(path, "NRRD")
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if not text:
                break
            if fields.get("data file", "").upper().startswith("LIST"):
                listed.append(text.strip())
            elif not text.startswith("#"):
                match = _FIELD.fullmatch(text + " ")
                if match is None:
                    raise damaged(path, "NRRD")
                if match[2] == ":=":
                    keys[match[1]] = re.sub(r"\\(.)", lambda escaped: {"n": "\n"}.get(escaped[1], escaped[1]), match[3][:-1])
                else:
                    name = match[1].strip().lower()
                    name = _SYNONYMS.get(name, name)
                    if name not in _KNOWN:
                        raise InputError(f"{path} has a field that NRRD does not have ({name[:40]!r}); remove it, or copy the file again.")
                    fields[name] = match[3].strip()
        return fields, keys, listed, file.tell()


def _layout(path: Path, fields: Mapping[str, str], listed: list[str], end: int) -> VoxelLayout:
    kind = next((code for code, names in _TYPES.items() if fields["type"].lower() in names), None)
    if kind is None:
        raise InputError(f"{path} has voxels of a type that cannot be read ({fields['type'][:40]}); export it as whole numbers or float.")
    sizes = tuple(int(size) for size in fields["sizes"].split())
    if int(fields["dimension"]) != len(sizes) or not 1 <= len(sizes) <= 16 or min(sizes) < 1:
        raise damaged(path, "NRRD")
    encoding = fields["encoding"].lower()
    dtype = np.dtype(kind)
    if dtype.itemsize > 1 and encoding not in _TEXTS[:3]:
        if "endian" not in fields:
            raise InputError(f"{path} does not say the order of its bytes (endian), which the format asks for; export it again.")
        dtype = dtype.newbyteorder({"little": "<", "big": ">"}[fields["endian"].lower()])  # type: ignore[arg-type]
    spatial, points = _roles(path, fields, sizes)
    signs = _signs(fields)
    linear, origin, known = _geometry(fields, spatial, sizes, signs or (1.0, 1.0))
    count = math.prod(sizes)
    parts = _data(path, fields, listed, end, encoding, count, dtype)
    return VoxelLayout(
        path,
        sizes,
        dtype,
        parts,
        linear,
        origin,
        spatial,
        points,
        None,
        known,
        signs is not None,
        names=names_in_text(fields.get("content", "")),
    )


def _roles(path: Path, fields: Mapping[str, str], sizes: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes that lie in space, and those along which there are several images."""
    kinds = [word.strip('"').lower() for word in fields.get("kinds", "").split()] or [""] * len(sizes)
    vectors = _vectors(fields)
    if len(kinds) != len(sizes) or (vectors is not None and len(vectors) != len(sizes)):
        raise damaged(path, "NRRD")
    spatial: list[int] = []
    several: list[int] = []
    for axis, kind in enumerate(kinds):
        if (kind in _SPATIAL if vectors is None else vectors[axis] is not None) and len(spatial) < 3:
            spatial.append(axis)
        elif kind in _SPATIAL or kind in _SEVERAL or sizes[axis] == 1:
            several.append(axis)
        else:
            raise InputError(f"{path} has colour or vector voxels; give an image with one number per voxel.")
    if len(spatial) < 2:
        raise InputError(f"{path} has {len(spatial)} axes in space; give an image or a volume.")
    return tuple(spatial), tuple(several)


def _vectors(fields: Mapping[str, str]) -> list[list[float] | None] | None:
    """Steps along each axis; None for an axis that does not lie in space, and where the file has none."""
    if "space directions" not in fields:
        return None
    found = re.findall(r"\(([^()]*)\)|(none)", fields["space directions"])
    return [None if none else [float(number) for number in numbers.split(",")] for numbers, none in found]


def _signs(fields: Mapping[str, str]) -> tuple[float, float] | None:
    """Signs of x and y in LPS; None where the file does not tell how the patient lies (ValueError for a space that there is not)."""
    if "space" not in fields:
        return None
    name = fields["space"].strip('"').lower()
    name = name.removesuffix("-time") if "-" in name else name.removesuffix("t")
    if name not in (*_SPACES, *_OTHER_SPACES):
        raise ValueError(name)
    return _SPACES.get(name)


def _geometry(
    fields: Mapping[str, str], spatial: tuple[int, ...], sizes: tuple[int, ...], patient: tuple[float, float]
) -> tuple[Any, Any, bool]:
    """Steps and origin in LPS mm, and whether the size of voxels is known."""
    linear, origin = np.eye(3), np.zeros(3)
    vectors = _vectors(fields)
    if vectors is not None:
        for column, axis in enumerate(spatial):
            vector = vectors[axis] or []
            linear[: min(3, len(vector)), column] = vector[:3]
        if len(spatial) == 2 and len(vectors[spatial[0]] or []) > 2:
            linear[:, 2] = np.cross(linear[:, 0], linear[:, 1])
            linear[:, 2] /= np.linalg.norm(linear[:, 2]) or 1.0
        given = [float(number) for number in fields.get("space origin", "").strip("()").split(",") if number.strip()]
        origin[: min(3, len(given))] = given[:3]
        units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
        scale = np.array([_MM.get(unit.strip().lower(), 1.0) for unit in units[:3]] + [1.0] * (3 - len(units[:3])))
        signs = np.array([*patient, 1.0])
        return linear * (scale * signs)[:, None], origin * scale * signs, True
    steps = [float(word) for word in fields.get("spacings", "").split()]
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))
    lowest, highest = ([float(word) for word in fields.get(f"axis {end}", "").split()] for end in ("mins", "maxs"))
    centers = [word.lower() for word in fields.get("centers", "").split()]
    is_node = [axis < len(centers) and centers[axis] == "node" for axis in range(len(sizes))]
    if lowest and highest and not steps:
        # From end to end of the voxels, or from centre to centre.
        steps = [(high - low) / max(size - node, 1) for low, high, size, node in zip(lowest, highest, sizes, is_node, strict=True)]
    known = bool(steps)
    for column, axis in enumerate(spatial):
        step = steps[axis] if steps else math.nan
        if not math.isfinite(step) or step == 0:
            known, step = False, 1.0
        unit = _MM.get(units[axis].strip().lower(), 1.0) if axis < len(units) else 1.0
        linear[column, column] = step * unit
        if lowest and math.isfinite(lowest[axis]):
            half = 0.0 if is_node[axis] else 0.5
            origin[column] = (lowest[axis] + half * step) * unit
    return linear, origin, known


def _data(
    path: Path, fields: Mapping[str, str], listed: list[str], end: int, encoding: str, count: int, dtype: np.dtype[Any]
) -> list[Part] | Array:
    """Where the voxels lie; the voxels themselves where they are text."""
    lines, skip = int(fields.get("line skip", 0)), int(fields.get("byte skip", 0))
    named = fields.get("data file")
    starts: list[tuple[Path, int]] = [(path, end)]
    if named is not None:
        if named.upper().startswith("LIST"):
            files = [data_file(path, name) for name in listed]
        elif len(words := named.split()) >= 4 and "%" in words[0]:
            files = numbered_files(path, words[:4])
        else:
            files = [data_file(path, named)]
        starts = [(file, 0) for file in files]
    if not starts or count % len(starts) or lines < 0 or skip < -1:
        raise damaged(path, "NRRD")
    if lines:
        starts = [(file, _after_lines(file, start, lines)) for file, start in starts]
    if encoding in _TEXTS:
        if len(starts) > 1:
            raise InputError(f"{path} has its numbers as text in several files; save them in one.")
        text = text_of(starts[0][0], starts[0][1] + max(skip, 0), count)
        if encoding == "hex":
            return np.frombuffer(bytes.fromhex(text.decode("ascii")), dtype, count)
        return numbers_in(text, dtype, count)
    if encoding not in _PACKINGS:
        raise damaged(path, "NRRD")
    packing, length = _PACKINGS[encoding], count // len(starts) * dtype.itemsize
    if skip == -1:
        if packing != "raw":
            raise damaged(path, "NRRD")
        return [Part(file, max(start, file.stat().st_size - length), length) for file, start in starts]
    return [Part(file, start, length, packing, skip, exact=skip == 0) for file, start in starts]


def _after_lines(path: Path, start: int, lines: int) -> int:
    with path.open("rb") as file:
        file.seek(start)
        for _ in range(min(lines, _MOST_HEADER)):
            if not file.readline(_MOST_HEADER):
                raise damaged(path, "NRRD")
        return file.tell()


def write_nrrd(volume: Volume, path: Path, keys: Mapping[str, str] | None = None) -> None:
    """Write .nrrd, packed with gzip; ``keys`` are kept as keys with values."""
    array, linear, origin = laid_out(volume)
    axes = array.ndim
    code = np.dtype(array.dtype).newbyteorder("=").str[1:]
    if code not in _TYPES:
        raise InputError(f"NRRD cannot hold numbers of the kind {array.dtype}; use whole numbers or floats.")
    lines = [
        "NRRD0004",
        f"type: {_TYPES[code][0]}",
        f"dimension: {axes}",
        "space: left-posterior-superior" if axes == 3 else "space dimension: 2",
        "sizes: " + " ".join(str(size) for size in array.shape[::-1]),
        "space directions: " + " ".join(_vector(column) for column in linear.T),
        "kinds:" + " domain" * axes,
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(origin)}",
        *([f"content: {names_as_text(volume.names)}"] if volume.names else []),
        *(f"{key}:={_escaped(value)}" for key, value in (keys or {}).items()),
    ]
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode("utf-8", "backslashreplace"))
        write_packed(file, array, "gzip")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", " ")


def _vector(numbers: Any) -> str:
    return "(" + ",".join(f"{number + 0.0:.17g}" for number in numbers) + ")"
