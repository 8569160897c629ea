"""PNG and JPEG, by way of Pillow; they know pixels, not millimetres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Array, Volume, scaling

#: Shares of red, green and blue in the brightness that people see (ITU-R 601).
_LUMA = (0.299, 0.587, 0.114)


def read_picture(path: Path) -> Volume:
    """Read .png, .jpg or .jpeg as a (Y, X) image; colour is made grey."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            image.load()
            grey = image if image.mode.startswith("I") else image.convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is damaged or not a PNG or JPEG picture; copy or export it again.") from error
    array = np.array(grey)
    # 16-bit PNGs come as 32-bit integers from older Pillows.
    array = array.astype(np.uint16) if array.dtype.kind == "i" else array
    return Volume(array, scaling((1.0, 1.0)), spacing_known=False)


def write_png(volume: Volume, path: Path) -> None:
    """Write one slice as an 8- or 16-bit grey PNG."""
    array = np.asarray(volume.array)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise InputError(f"PNG holds one slice, not a volume of {array.shape[0]}; use .nii.gz, .nrrd, .mha or .tif.")
    if array.dtype.kind not in "bui" or array.min() < 0 or array.max() > 65535:
        raise InputError("PNG holds whole numbers from 0 to 65535 only; use .nii.gz, .nrrd, .mha or .tif.")
    Image.fromarray(array.astype(np.uint8 if array.max() < 256 else np.uint16)).save(path)


def to_grey(array: Array) -> Array:
    """Brightness of colours along the last axis (RGB or RGBA), of the same type; lazy arrays stay lazy."""
    red, green, blue = (array[..., channel] * share for channel, share in enumerate(_LUMA))
    brightness = red + green + blue
    return (brightness.round() if array.dtype.kind in "ui" else brightness).astype(array.dtype)
