"""NIfTI-1 and NIfTI-2, read and written by the standard (nifti1.h, nifti2.h); pairs of .hdr and .img, Analyze 7.5 too, are only read."""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.formats.voxels import Part, VoxelLayout, damaged, image_of, is_flat, storable, unpacked, write_packed
from napari_lungseg.labels import names_as_text, names_in_text
from napari_lungseg.volume import Volume

Matrix = npt.NDArray[np.float64]

_FIELDS = ["datatype", "bitpix", "dim", "intent", "pixdim", "offset", "slope", "inter", "units", "qform", "sform", "quatern", "srow"]
_ONE = np.dtype(
    {
        "names": [*_FIELDS, "magic", "description"],
        "formats": ["i2", "i2", "8i2", "i2", "8f4", "f4", "f4", "f4", "u1", "i2", "i2", "6f4", "(3,4)f4", "S4", "S80"],
        "offsets": [70, 72, 40, 68, 76, 108, 112, 116, 123, 252, 254, 256, 280, 344, 148],
        "itemsize": 348,
    }
)
_TWO = np.dtype(
    {
        "names": [*_FIELDS, "magic", "description"],
        "formats": ["i2", "i2", "8i8", "i4", "8f8", "i8", "f8", "f8", "i4", "i4", "i4", "6f8", "(3,4)f8", "S8", "S80"],
        "offsets": [12, 14, 16, 504, 104, 168, 176, 184, 500, 344, 348, 352, 400, 4, 240],
        "itemsize": 540,
    }
)
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOURS = {32: "complex", 128: "RGB", 1792: "complex", 2304: "RGBA"}
_SINGLE, _DOUBLE = (b"n+1", b"n+2"), (b"ni1", b"ni2")
_GZIP = b"\x1f\x8b"
#: Endings of the files of a pair, and the ending of the other one, which may be packed too.
_PAIRS = {".hdr": ".img", ".hdr.gz": ".img", ".img": ".hdr", ".img.gz": ".hdr"}
#: Millimetres in the units of space.
_MM = {1: 1000.0, 3: 0.001}
#: Steps that are nearer to right angles than this (radians; 0.6 degrees) are set at right angles: files round their geometry.
NEARLY_RIGHT = 0.01
_TO_LPS = np.array([-1.0, -1.0, 1.0])


def read_nifti(path: Path, series: str | None = None) -> Volume:
    """Read .nii or .nii.gz, whichever of both the content is, or a pair by either of its files.

    Of a time series it is the point that is asked for. The sform governs where the file has one at right angles, else the qform.
    """
    pair = _pair(path)
    path, voxels = pair or (path, path)
    packed, order, header = _header(path)
    is_pair = bytes(header["magic"])[:3] not in _SINGLE
    if is_pair and pair is None:
        raise InputError(f"{path} is the header of a pair; let its name end in .hdr, and that of the file with the voxels in .img.")
    voxels = voxels if is_pair else path
    packed = _is_packed(voxels) if is_pair else packed
    dim = [int(length) for length in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise damaged(path, "NIfTI")
    sizes = dim[1 : dim[0] + 1]
    while len(sizes) > 3 and sizes[-1] == 1:
        del sizes[-1]
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in _COLOURS or (len(sizes) > 4 and sizes[4] > 1):
        raise InputError(f"{path} has colour or vector voxels; give an image with one number per voxel.")
    if code not in _TYPES:
        raise InputError(f"{path} has voxels of a type that cannot be read (NIfTI datatype {code}); export it as whole numbers.")
    dtype = np.dtype(order + _TYPES[code])
    offset, least = float(header["offset"]), 0 if is_pair else 352 if header.dtype.itemsize == 348 else 544
    offset = offset or least
    if bits not in (0, 8 * dtype.itemsize) or not least <= offset < 2**53 or offset % 1:
        raise damaged(path, "NIfTI")
    linear, origin, known, oriented, notes = _geometry(header, sizes, path)
    length = math.prod(sizes) * dtype.itemsize
    part = Part(voxels, 0, length, "gzip", int(offset), exact=False) if packed else Part(voxels, int(offset), length, exact=False)
    axes = range(len(sizes))
    layout = VoxelLayout(
        path,
        tuple(sizes),
        dtype,
        [part],
        linear,
        origin,
        tuple(axes[:3]),
        tuple(axes[3:]),
        _scale(header, path),
        known,
        oriented,
        notes,
        names_in_text(bytes(header["description"]).decode("ascii", "replace")),
    )
    return image_of(layout, series)


def _pair(path: Path) -> tuple[Path, Path] | None:
    """Header and voxels of the pair that a path belongs to by its ending, None where to none (InputError where the other is missing)."""
    for ending, other in _PAIRS.items():
        if path.name.lower().endswith(ending):
            stem = path.name[: -len(ending)]
            beside = [one for one in path.parent.iterdir() if one.name.lower() in _beside(stem, other)]
            if not beside:
                raise InputError(f"{path} is one file of a pair, but {stem}{other} is not beside it; copy both files.")
            return (path, beside[0]) if other == ".img" else (beside[0], path)
    return None


def _beside(stem: str, ending: str) -> tuple[str, str]:
    return f"{stem}{ending}".lower(), f"{stem}{ending}.gz".lower()


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _header(path: Path) -> tuple[bool, str, Any]:
    """Whether the file is packed with gzip, its byte order, and its header."""
    with path.open("rb") as file:
        head = file.read(544)
        packed = head.startswith(_GZIP)
        if packed:
            file.seek(0)
            try:
                head = b""
                for piece in unpacked(file, "gzip"):
                    head += piece
                    if len(head) >= _TWO.itemsize:
                        break
            except (zlib.error, EOFError) as error:
                raise damaged(path, "NIfTI") from error
    for order in ("<", ">"):
        for kind in (_ONE, _TWO):
            if len(head) >= kind.itemsize and head[:4] == struct.pack(f"{order}i", kind.itemsize):
                header = np.frombuffer(head, kind.newbyteorder(order), 1)[0]
                magic = bytes(header["magic"])[:3]
                if magic in (*_SINGLE, *_DOUBLE):
                    return packed, order, header
                if kind is _ONE and path.name.lower().endswith((".hdr", ".hdr.gz")) and _is_analyze(head):
                    return packed, order, _analyze(header)
    raise damaged(path, "NIfTI")


def _is_analyze(head: bytes) -> bool:
    """Whether a header without NIfTI's mark is sound as one of Analyze 7.5, which has none.

    Its texts are texts, its orientation is known, and nothing stands where NIfTI has an offset for the numbers, its unit and its axes.
    """
    texts = (head[4:32], head[148:228], head[228:252])
    return all(text.partition(b"\0")[0].isascii() for text in texts) and head[252] <= 5 and not any(head[116:124])


def _analyze(header: Any) -> Any:
    """The fields that a header of Analyze 7.5 shares with NIfTI; where NIfTI has its places, Analyze has other things."""
    header = header.copy()
    for name in ("qform", "sform", "inter", "intent", "units", "magic"):
        header[name] = np.zeros((), header.dtype[name])
    return header


def _scale(header: Any, path: Path) -> tuple[float, float] | None:
    """Slope and intercept; None where they change nothing, or the file has none."""
    slope, intercept = float(header["slope"]), float(header["inter"])
    if slope == 0 or math.isnan(slope) or (slope == 1 and (intercept == 0 or math.isnan(intercept))):
        return None
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise InputError(f"{path} has a slope or intercept that is no number ({slope:g}, {intercept:g}); export it again.")
    return slope, intercept


def _geometry(header: Any, sizes: list[int], path: Path) -> tuple[Matrix, Matrix, bool, bool, tuple[str, ...]]:
    """Steps, origin, whether their size is known, whether the file tells how the patient lies, and what a person should know of it."""
    axes, notes = len(sizes), []
    is_analyze = not bytes(header["magic"])[:3].strip(b"\0")
    steps = np.abs(header["pixdim"][1:4].astype(float))
    given = np.isfinite(steps) & (steps > 0)
    known = bool(given[: min(axes, 3)].all())
    steps = np.where(given, steps, 1.0)
    scale = _MM.get(int(header["units"]) & 7, 1.0)
    quaternion = header["quatern"].astype(float)
    qform = None
    if header["qform"] > 0 and np.isfinite(quaternion).all():
        qform = _rotation(quaternion[:3]) * steps * [1, 1, -1 if header["pixdim"][0] < 0 else 1], quaternion[3:]
    sform = None
    if header["sform"] > 0:
        rows = header["srow"].astype(float)
        if axes < 3 and not rows[:, 2].any():
            rows[:, 2] = np.cross(*_units(rows[:, :2]).T)
        sform = rows[:, :3], rows[:, 3]
        if not np.isfinite(rows).all() or abs(np.linalg.det(rows[:, :3])) < 1e-12:
            sform = None
    if sform is not None and qform is not None and (np.sum(_units(sform[0]) * _units(qform[0]), axis=0) < 0).any():
        raise InputError(
            f"{path} says in two ways how the patient lies (qform and sform), which contradict each other, so right and left are not "
            "certain; set both alike, or remove the wrong one."
        )
    upright = None if sform is None else right_angled(sform[0])
    if sform is not None and upright is not None:
        linear, origin, known = upright, sform[1], True
        if qform is not None and (apart := _apart(sform, qform, sizes)) > 0.5 * np.linalg.norm(upright, axis=0).min():
            notes.append(
                f"The file tells two places for the image (sform and qform, up to {apart * scale:.3g} mm apart): the sform is taken."
            )
    elif qform is not None:
        linear, origin = qform
    elif sform is not None:
        raise InputError(
            f"{path} has a sheared geometry (its axes are not at right angles), which cannot be read; "
            "resample it on a grid with right angles."
        )
    else:
        # Taken for an upright axial image; that of Analyze 7.5 runs to the front, by convention.
        linear, origin = np.diag(steps * ([-1, 1, 1] if is_analyze else _TO_LPS)), np.zeros(3)
        if is_analyze:
            notes.append("Analyze 7.5 does not tell how the patient lies: taken as its convention has it, with the first row at the back.")
    # Adding 0 makes a zero of -0.
    return (
        linear * _TO_LPS[:, None] * scale + 0.0,
        origin * _TO_LPS * scale + 0.0,
        known,
        qform is not None or sform is not None,
        tuple(notes),
    )


def _apart(one: tuple[Matrix, Matrix], other: tuple[Matrix, Matrix], sizes: list[int]) -> float:
    """The largest distance between the corners of an image in two places."""
    ends = [(0, size - 1) for size in (*sizes, 1, 1)[:3]]
    corners = np.array(list(itertools.product(*ends)))
    return float(np.linalg.norm(corners @ (one[0] - other[0]).T + one[1] - other[1], axis=1).max())


def _units(linear: Matrix) -> Matrix:
    return linear / np.linalg.norm(linear, axis=0)


def right_angled(linear: Matrix) -> Matrix | None:
    """The nearest steps at right angles; None where these are farther away than rounding takes them."""
    directions = _units(linear)
    off = np.abs(directions.T @ directions - np.eye(3)).max()
    if off < 1e-6:
        return linear
    if off > NEARLY_RIGHT:
        return None
    left, _, right = np.linalg.svd(directions)
    return (left @ right) * np.linalg.norm(linear, axis=0)


def _rotation(quaternion: Matrix) -> Matrix:
    """Rotation of a unit quaternion, of which the last three numbers are given."""
    rest = 1.0 - float(quaternion @ quaternion)
    if rest < 1e-7:
        quaternion = quaternion / np.linalg.norm(quaternion)
    a, (b, c, d) = math.sqrt(max(rest, 0.0)) if rest >= 1e-7 else 0.0, quaternion
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _quaternion(rotation: Matrix) -> Matrix:
    """The last three numbers of the unit quaternion of a rotation, the first being positive."""
    xx, yy, zz = np.diag(rotation)
    # Each row is the quaternion times one of its own numbers; the largest of these is the safest to divide by.
    r = rotation
    rows = np.array(
        [
            [1 + xx + yy + zz, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], 1 + xx - yy - zz, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], 1 - xx + yy - zz, r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 1 - xx - yy + zz],
        ]
    )
    row = rows[int(np.argmax(np.diag(rows)))]
    row = row / np.linalg.norm(row)
    result: Matrix = row[1:] * (-1.0 if row[0] < 0 else 1.0)
    return result


def write_nifti(volume: Volume, path: Path) -> None:
    """Write .nii or .nii.gz with the geometry as qform and sform (InputError where its axes are not at right angles)."""
    affine = volume.affine
    directions = _units(affine[:3, :3])
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        raise InputError("NIfTI cannot hold its sheared geometry; use .nrrd or .mha.")
    array = storable(volume.array)
    flat = array.ndim == 2 and is_flat(volume)
    array = array if flat or array.ndim == 3 else array[None]
    code = next((code for code, kind in _TYPES.items() if np.dtype(kind) == array.dtype.newbyteorder("=")), None)
    if code is None:
        raise InputError(f"NIfTI cannot hold numbers of the kind {array.dtype}; use whole numbers or floats.")
    if max(array.shape) > 32767:
        raise InputError("NIfTI holds at most 32767 voxels along an axis; use .nrrd or .mha.")
    header = np.zeros((), _ONE.newbyteorder("<"))
    linear = affine[:3, 2::-1] * _TO_LPS[:, None]
    steps = np.linalg.norm(linear, axis=0)
    rotation = linear / steps
    qfac = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    header["magic"], header["offset"] = b"n+1", 352
    header["dim"] = [array.ndim, *array.shape[::-1], *(1,) * (7 - array.ndim)]
    header["datatype"], header["bitpix"] = code, 8 * array.dtype.itemsize
    header["pixdim"] = [qfac, *steps, 0, 0, 0, 0]
    header["slope"], header["units"], header["qform"], header["sform"] = 1, 2 | 8, 1, 1
    header["quatern"] = [*_quaternion(rotation * [1, 1, qfac]), *(affine[:3, 3] * _TO_LPS)]
    header["srow"] = np.column_stack([linear, affine[:3, 3] * _TO_LPS])
    if volume.names and len(text := names_as_text(volume.names)) <= 80:
        header["description"] = text.encode()
    head = bytearray(header.tobytes() + bytes(4))
    head[:4] = struct.pack("<i", 348)
    head[38] = ord("r")  # "regular", which old readers look at
    with path.open("wb") as file:
        write_packed(file, array, "gzip" if path.suffix.lower() == ".gz" else "raw", bytes(head))
