"""Arrays that may outgrow the memory: large ones lie in a temporary file, which the system writes out and reads again as it needs."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from contextlib import suppress

import numpy as np
import numpy.typing as npt

#: Arrays of fewer bytes are kept in memory.
LARGE = 128 << 20
_PIECE = 1 << 20


def zeros(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Make an array of zeros (uint8, in C order), which lies in a temporary file where it is large.

    The file goes with the last view on the array. Where the folder for temporary files has no room, the array is in memory.
    """
    size = math.prod(shape)
    if size >= LARGE:
        with suppress(OSError):
            return np.ndarray(shape, np.uint8, _mapped(size))
    return np.zeros(shape, np.uint8)


def _mapped(size: int) -> mmap.mmap:
    """Map a file of zeros (OSError where there is no room for it)."""
    with tempfile.TemporaryFile(prefix="napari-lungseg-") as file:
        # Without its space on the disk, writing to the array would end the process (SIGBUS) once the disk is full.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, _PIECE):
                file.write(bytes(min(_PIECE, size - start)))
            file.flush()
        return mmap.mmap(file.fileno(), size)
