"""Files of ``torch.save`` and other ZIP files, read without running what they hold."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_lungseg.errors import InputError


def unpacked(data: bytes) -> int:
    """Bytes that a zip archive has once it is unpacked; 0 for what is none, as files of early versions of torch."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return 0  # torch will not read it either


def names_in(path: Path) -> list[str]:
    """Names of the files in a ZIP file; none in what is no such file, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return []


def load_tensors(data: bytes, path: Path) -> dict[str, Any]:
    """Read a checkpoint of tensors, texts and numbers; of other types numpy's own numbers alone, which logs hold.

    Raises
    ------
    InputError
        When it is damaged, packed, holds anything else, or tensors that are larger than the file.
    """
    import torch

    if unpacked(data) > len(data):  # torch packs nothing
        raise InputError(f"{path} cannot be imported: it is packed.")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([*_numbers()]):
            warnings.simplefilter("ignore")  # what is wrong with a file is told in one sentence
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for what it does not admit, or cannot read
        raise InputError(f"{path} cannot be imported: it is damaged, or holds more than weights, which is not read for safety.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} cannot be imported: it is no checkpoint.")
    tensors = found.get("network_weights")
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(one, torch.Tensor) for one in tensors.values()):
        raise InputError(f"{path} cannot be imported: it has no network_weights.")
    return found


def _numbers() -> Iterator[Any]:
    """What a pickle of one number of numpy names, in numpy 1 and 2."""
    scalar = np.array(0.0)[()].__reduce__()[0]
    yield from (scalar, (scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype)
    yield from (type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_))
