"""TIFF stacks and single pages, by way of tifffile; spacing from ImageJ or OME metadata."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_lungseg.errors import InputError, reading
from napari_lungseg.formats.choice import Candidate, SeriesInfo, choose
from napari_lungseg.formats.picture import to_grey
from napari_lungseg.preprocess import judge_unit
from napari_lungseg.volume import Array, Volume, scaling

#: Colour channels of a microscope; what has more is a stack whose axis was not named.
_MOST_CHANNELS = 4
#: Numbers of ImageJ's calibration functions (ij.measure.Calibration).
_STRAIGHT_LINE, _UNCALIBRATED = 0, 20
#: How many times smaller than its content packed data can be at most; of LZW with its codes of 12 bits, for 4096 bytes.
_MOST_PACKED = {
    tifffile.COMPRESSION.NONE: 1,
    tifffile.COMPRESSION.PACKBITS: 64,
    tifffile.COMPRESSION.LZW: 2731,
    tifffile.COMPRESSION.ADOBE_DEFLATE: 1040,
    tifffile.COMPRESSION.DEFLATE: 1040,
}
_MOST_PACKED_OTHERWISE = 100_000
#: Millimetres in the units that ImageJ and OME write, in one spelling.
_MM = {
    "m": 1000.0,
    "meter": 1000.0,
    "cm": 10.0,
    "centimeter": 10.0,
    "mm": 1.0,
    "millimeter": 1.0,
    "um": 1e-3,
    "\u00b5m": 1e-3,
    "\u03bcm": 1e-3,
    "\\u00b5m": 1e-3,
    "micron": 1e-3,
    "micrometer": 1e-3,
    "nm": 1e-6,
    "nanometer": 1e-6,
    "inch": 25.4,
    "inches": 25.4,
    "in": 25.4,
}


def read_tiff(path: Path, series: str | None = None) -> Volume:
    """Read a page or a stack of pages; colour is made grey; of several points of time or channels the one that is asked for.

    The resolution of a TIFF without ImageJ or OME metadata speaks of print, not of the patient, and is not believed.
    """
    with reading(path, f"{path} is damaged or not a TIFF file; copy or export it again."):
        return _read(path, series)


def _read(path: Path, series: str | None) -> Volume:
    with _complaints() as complaints, tifffile.TiffFile(path) as file:
        if _are_pages(file.series):
            return _stacked(file)
        if len(file.series) != 1:
            raise InputError(f"{path} holds {len(file.series)} images of different kinds; save the one that is meant.")
        pages = file.series[0]
        axes, shape = pages.axes, pages.shape
        stacked = {axis: length for axis, length in zip(axes, shape) if axis not in "YXS" and length > 1}
        others = _others(stacked)
        if len(others) > 1 or len(stacked) - len(others) > 1 or axes.replace("S", "")[-2:] != "YX":
            raise InputError(f"{path} has more axes than a volume (axes {axes}, shape {shape}); save one grey volume of it.")
        spacing = _ome_spacing(file) if file.is_ome else _imagej_spacing(file) if file.is_imagej else None
        taken = None
        if others:
            depth = next((length for axis, length in stacked.items() if axis not in others), 1)
            size = (depth, shape[axes.index("Y")], shape[axes.index("X")])
            taken = choose(_choices(others[0], stacked[others[0]], size, spacing), series, path).image
        _check_room(file, pages)
        array = pages.asarray()
        if pages.keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind == "u":
            array = np.iinfo(array.dtype).max - array
        calibration = _imagej_calibration(file) if file.is_imagej else None
        if complaints:
            raise ValueError(complaints[0])
    if taken is not None:
        array = array.take(taken, axes.index(others[0]))
        axes = axes.replace(others[0], "")
    if "S" in axes:
        array = np.moveaxis(array, axes.index("S"), -1)
        array = to_grey(array) if array.shape[-1] > 2 else array[..., 0]
    array = array.reshape(array.shape[-3:] if len(stacked) > len(others) else array.shape[-2:])
    if array.dtype.kind not in "buif":
        raise InputError(f"{path} holds numbers of the kind {array.dtype}; save it as grey values.")
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if calibration is not None and array.dtype.itemsize <= 2:
        array = _calibrated(array, *calibration)
    told = judge_unit(array)
    steps = scaling((1.0,) * array.ndim if spacing is None else spacing[3 - array.ndim :])
    notes = (told.why,) if told.is_doubtful else ()
    return Volume(array, steps, told.unit, spacing is not None, oriented=False, notes=notes, why_unit=told.why)


def _are_pages(series: list[tifffile.TiffPageSeries]) -> bool:
    """Whether a file holds grey pages of one size and type that were written one by one, as a loop does."""
    return (
        len(series) > 1
        and len({(one.axes, one.shape, one.dtype, one.keyframe.photometric) for one in series}) == 1
        and series[0].axes == "YX"
    )


def _stacked(file: tifffile.TiffFile) -> Volume:
    for pages in file.series:
        _check_room(file, pages)
    array = np.stack([pages.asarray() for pages in file.series])
    told = judge_unit(array)
    notes = (f"Its {len(array)} pages were written one by one; they were taken as slices.", *((told.why,) if told.is_doubtful else ()))
    return Volume(array, scaling((1.0, 1.0, 1.0)), told.unit, False, oriented=False, notes=notes, why_unit=told.why)


def _check_room(file: tifffile.TiffFile, pages: tifffile.TiffPageSeries) -> None:
    """Refuse pages that promise more than the file can hold, before memory is asked for (ValueError)."""
    size, keyframe = file.filehandle.size, pages.keyframe
    if pages.nbytes > size * _MOST_PACKED.get(tifffile.COMPRESSION(keyframe.compression), _MOST_PACKED_OTHERWISE):
        raise ValueError(f"{pages.nbytes} bytes promised in {size}")
    for page in pages.pages:
        if page is not None and max(page.databytecounts, default=0) > size:
            raise ValueError(f"a part of {max(page.databytecounts)} bytes in {size}")


def _others(stacked: dict[str, int]) -> list[str]:
    """Axes along which there are several volumes or pictures, not slices."""
    if "Z" in stacked:
        return [axis for axis in stacked if axis != "Z"]
    return [axis for axis, length in stacked.items() if len(stacked) > 1 or (axis == "C" and length <= _MOST_CHANNELS)]


def _choices(axis: str, length: int, size: tuple[int, ...], spacing: tuple[float, ...] | None) -> list[Candidate[int]]:
    word = {"T": "time", "C": "channel"}.get(axis, axis)
    return [
        Candidate(SeriesInfo(str(number), "", "", size, spacing or (), f"{word} {number}"), number - 1) for number in range(1, length + 1)
    ]


def write_tiff(volume: Volume, path: Path) -> None:
    """Write an OME-TIFF, compressed, with the spacing where it is known."""
    array = np.asarray(volume.array)
    array = array.astype(np.uint8) if array.dtype == bool else array
    metadata: dict[str, Any] = {"axes": "ZYX"[3 - array.ndim :]}
    if volume.spacing_known:
        for axis, step in zip(metadata["axes"], volume.spacing):
            metadata |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": "mm"}
    tifffile.imwrite(path, array, ome=True, photometric="minisblack", compression="zlib", metadata=metadata)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs as an error: it leaves out pages that it cannot find, and only logs that."""
    handler = logging.Handler(logging.ERROR)
    complaints: list[str] = []
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield complaints
    finally:
        logger.removeHandler(handler)


def _imagej_calibration(file: tifffile.TiffFile) -> tuple[float, float] | None:
    """Slope and intercept by which ImageJ shows other numbers than it stores, as for the signed numbers of a CT, which it cannot store.

    Of its other functions (ij.measure.Calibration) none is of use for a CT; they are refused (InputError).
    """
    metadata = file.imagej_metadata or {}
    if (function := metadata.get("cf", _UNCALIBRATED)) == _UNCALIBRATED:
        return None
    intercept, slope = (float(metadata.get(name, 0.0)) for name in ("c0", "c1"))
    if function != _STRAIGHT_LINE or not (math.isfinite(intercept) and math.isfinite(slope)) or slope == 0:
        raise InputError(f"{file.filename} has a calibration of ImageJ that is no straight line; save the calibrated numbers.")
    return slope, intercept


def _calibrated(array: Array, slope: float, intercept: float) -> Array:
    """Numbers times slope plus intercept; whole ones stay whole where these are."""
    if slope != 1 or intercept % 1:
        return (array * np.float64(slope) + intercept).astype(np.float32)
    whole = array.astype(np.int32) + int(intercept)
    fits = whole.min(initial=0) >= -32768 and whole.max(initial=0) <= 32767
    return whole.astype(np.int16) if fits else whole


def _imagej_spacing(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    metadata = file.imagej_metadata or {}
    unit = _unit(metadata.get("unit", ""))
    tags = file.pages.first.tags
    if unit is None or "XResolution" not in tags or "YResolution" not in tags:
        return None
    steps = []
    for name in ("YResolution", "XResolution"):
        pixels, units = tags[name].value
        if not pixels or not units:
            return None
        steps.append(units / pixels * unit)
    # ImageJ leaves out a depth of one unit, and may count slices downwards.
    return _possible((abs(float(metadata.get("spacing", 1.0))) * unit, *steps))


def _ome_spacing(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    described = tifffile.xml2dict(file.ome_metadata or "").get("OME", {}).get("Image", {})
    pixels = (described[0] if isinstance(described, list) else described).get("Pixels", {})
    steps = []
    for axis in "ZYX":
        size, unit = pixels.get(f"PhysicalSize{axis}"), _unit(pixels.get(f"PhysicalSize{axis}Unit", "\u00b5m"))
        if axis == "Z" and size is None and int(pixels.get("SizeZ", 1)) == 1:
            size, unit = 1.0, 1.0
        if size is None or unit is None:
            return None
        steps.append(float(size) * unit)
    return _possible(tuple(steps))


def _unit(name: Any) -> float | None:
    """Millimetres of a unit, however it is spelt."""
    word = str(name).strip().lower().replace("metre", "meter")
    return _MM.get(word, _MM.get(word.removesuffix("s")))


def _possible(spacing: tuple[float, ...]) -> tuple[float, ...] | None:
    return spacing if all(0 < step < float("inf") for step in spacing) else None
