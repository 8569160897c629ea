"""What an image and a slice are as bytes: the hash that a case is known by, and compressed planes."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.labels import whole_labels
from napari_lungseg.volume import Array

#: Bytes of an image that are held at once while it is hashed.
_SLAB_BYTES = 1 << 24


def content_hash(array: Any, check: Callable[[], None] | None = None) -> str:
    """SHA-256 of an image's shape, type and voxels: the name under which it is known, wherever its file lies.

    Parameters
    ----------
    array : array
        Of one axis or more; anything that slices like numpy (dask, zarr, memory map). It is read in slabs along the first axis.
    check : callable, optional
        Called before each slab is read; what it raises ends the reading.

    Returns
    -------
    str
        64 hexadecimal digits. Byte order and memory layout make no difference, the type does.
    """
    little = np.dtype(array.dtype).newbyteorder("<")
    digest = hashlib.sha256(f"{tuple(array.shape)} {little.str}".encode())
    depth = _slab_depth(array)
    for start in range(0, array.shape[0], depth):
        if check is not None:
            check()
        digest.update(np.ascontiguousarray(array[start : start + depth], dtype=little).data)
    return digest.hexdigest()


def _slab_depth(array: Any) -> int:
    """Planes that are read together: about ``_SLAB_BYTES``, in whole chunks, so that none of a lazy array is made twice."""
    depth = max(1, _SLAB_BYTES // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    chunk = (getattr(array, "chunks", None) or (1,))[0]
    chunk = max(1, chunk[0] if isinstance(chunk, tuple) else chunk)
    return max(chunk, depth // chunk * chunk)


def plain_labels(labels: Array) -> Array:
    """Labels in the smallest unsigned type that holds them.

    Raises
    ------
    InputError
        Where they are not whole numbers from 0 on.
    """
    whole = whole_labels(np.asarray(labels))
    if whole is None or whole.min(initial=0) < 0:
        raise InputError("These are no labels: they must be whole numbers from 0 on, one for each structure.")
    return whole.astype(np.min_scalar_type(int(whole.max(initial=0))), copy=False)


def pack(plane: Array) -> bytes:
    """A plane's numbers, little-endian in C order, compressed."""
    return zlib.compress(np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("<")).data, 1)


def unpack(packed: bytes, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
    """The plane that was packed.

    Raises
    ------
    ValueError
        Where it is not a plane of that type and shape.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    stream = zlib.decompressobj()
    try:
        # One byte more would show that it is too long; no more is ever made of it.
        plain = stream.decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(plain) != size or not stream.eof:
        raise ValueError("not as long as it should be")
    return np.frombuffer(plain, dtype).reshape(shape)
