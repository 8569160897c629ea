"""From an image's own numbers and grid to what a network reads: one code for training and prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
import numpy.typing as npt

from napari_lungseg.volume import Array, Unit, Volume

#: Side of the body, in mm, that is assumed where an image has no physical size.
ASSUMED_BODY_MM = 370.0
#: Slices and pixels looked at to find the body; more would not move the box.
BODY_SLICES = 24
BODY_STEP_MM = 3.0
BODY_MARGIN_MM = 12.0
#: Tissue starts here; between air (-1000 HU) and fat (-100 HU).
BODY_HU = -400.0

#: Pixel sizes that a model may want; smaller ones would make a card ask for any amount of memory.
LEAST_PIXEL_MM, MOST_PIXEL_MM = 0.05, 20.0
#: Sides of the plane of a network that reads slices of one size.
MOST_SIDE_PX = 4096

#: Where air and lung lie in HU, noise and sharp kernels included; what is denser has its median in TISSUE_HU.
AIR_HU = (-1500.0, -500.0)
TISSUE_HU = (-350.0, 500.0)
#: A lowest number below this is no density but padding.
PADDING_HU = -1100.0
#: Part of the voxels that must be air, and that may lie below all air: metal artefacts, and padding blurred by resampling.
LEAST_AIR, MOST_BELOW = 0.001, 0.05
LEAST_CONTRAST_HU = 200.0
#: What scanners add to HU so that no stored number is negative.
OFFSET = 1024


@dataclass(frozen=True)
class Preprocessing:
    """What a model's card says of the images it wants.

    Attributes
    ----------
    spacing_mm : float
        Pixel size in the plane.
    window_hu : tuple of float
        HU range that is mapped to -1 .. 1; beyond it values are clipped.
    convention : {"lungseg", "lungmask"}
        Whose way from slices to a network and back is gone: this package's, or that of the package lungmask, which fits the body on each
        slice into one square and maps the window to 0 .. 1 (:mod:`~napari_lungseg.framing`).
    size_px : tuple of int, optional
        Rows and columns that whole slices are stretched to, whatever their pixel size; by default they are read at ``spacing_mm``.
    """

    spacing_mm: float = 0.75
    window_hu: tuple[float, float] = (-1024.0, 600.0)
    convention: Literal["lungseg", "lungmask"] = "lungseg"
    size_px: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.size_px is not None and not all(1 <= side <= MOST_SIDE_PX for side in self.size_px):
            raise ValueError(f"The network's slices must have from 1 to {MOST_SIDE_PX} rows and columns, not {self.size_px}.")
        low, high = self.window_hu
        if not low < high:
            raise ValueError(f"The HU window must run from low to high, not from {low:g} to {high:g}.")
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"The HU window must have finite ends, not {low:g} and {high:g}.")
        if not LEAST_PIXEL_MM <= self.spacing_mm <= MOST_PIXEL_MM:
            raise ValueError(f"The pixel size must lie from {LEAST_PIXEL_MM:g} to {MOST_PIXEL_MM:g} mm, not at {self.spacing_mm:g}.")

    def intensity_range(self, volume: Volume) -> tuple[float, float]:
        """Values of ``volume`` that are mapped to -1 and 1.

        The HU window for HU; 0 and 255 for 8-bit images; else the 0.5th and 99.5th percentile of finite values
        of evenly spaced slices. NaN and infinities do not count.
        """
        if volume.unit == "HU":
            return self.window_hu
        if volume.array.dtype == np.uint8:
            return 0.0, 255.0
        sample = _thin(volume.array)
        sample = sample[np.isfinite(sample)]
        if sample.size == 0:
            return 0.0, 1.0
        low, high = (float(v) for v in np.percentile(sample, (0.5, 99.5)))
        return (low, high) if high > low else (low, low + max(1.0, abs(low)))

    def grid(self, box: Box, spacing: tuple[float, float]) -> tuple[int, int]:
        """Rows and columns that a box of pixels of ``spacing`` (mm) has at the network's pixel size."""
        rows, columns = (part.stop - part.start for part in box)
        return (
            max(1, round(rows * spacing[0] / self.spacing_mm)),
            max(1, round(columns * spacing[1] / self.spacing_mm)),
        )


Box = tuple[slice, slice]


def normalise(array: Array, low: float, high: float) -> npt.NDArray[np.float32]:
    """Map ``low .. high`` to -1 .. 1, clipped; NaN becomes -1, as air."""
    scaled = np.array(array, dtype=np.float32)
    scaled -= np.float32(low)
    scaled *= np.float32(2.0 / (high - low))
    scaled -= np.float32(1.0)
    np.clip(scaled, -1.0, 1.0, out=scaled)
    if array.dtype.kind == "f":
        np.copyto(scaled, np.float32(-1.0), where=np.isnan(scaled))
    return scaled


@dataclass(frozen=True)
class UnitGuess:
    """What an image's numbers mean, told from where they lie.

    Attributes
    ----------
    unit : {"HU", "arbitrary"}
        What they mean.
    why : str
        What tells it, a sentence for a person.
    is_doubtful : bool
        Whether a person should look at it.
    """

    unit: Unit
    why: str
    is_doubtful: bool = False


def guess_unit(array: Array) -> Unit:
    """Tell HU from other numbers, as :func:`judge_unit` does."""
    return judge_unit(array).unit


def judge_unit(array: Array) -> UnitGuess:
    """Tell HU from other numbers by where most of them lie, not by the smallest one, and say why.

    An image in HU holds air (from -1500 to -500, noise included), and most of what is denser is fat, muscle or blood. A single number
    below that, however far, is padding outside the field of view and does not count; converters write -2000, -8192 or -32768.
    Stored values without their offset of 1024 hold no air, whatever their padding.

    Evenly spaced slices are looked at, so that lazy arrays are not read as a whole.
    """
    if array.dtype.kind not in "if" or array.dtype.itemsize < 2:
        return UnitGuess("arbitrary", f"Numbers of the type {array.dtype} are no HU.")
    sample = _thin(array)
    sample = sample[np.isfinite(sample)]
    padding = ""
    if sample.size and (lowest := sample.min()) < PADDING_HU:
        sample = sample[sample > lowest]
        padding = f" Numbers of {lowest:g} were taken as padding."
    if sample.size == 0 or np.ptp(sample) <= LEAST_CONTRAST_HU:
        return UnitGuess("arbitrary", "Its numbers differ too little to be HU." + padding)
    if _look_like_hu(sample):
        return UnitGuess("HU", "Its numbers lie where those of air and tissue do in HU." + padding)
    if (sample >= OFFSET + AIR_HU[1]).any() and _look_like_hu(sample - OFFSET):
        why = f"Its numbers look like those of a CT without the offset of {OFFSET}, so they are not taken as HU." + padding
        return UnitGuess("arbitrary", why, is_doubtful=True)
    return UnitGuess("arbitrary", "Its numbers do not lie where those of air and tissue do in HU." + padding)


def _look_like_hu(sample: npt.NDArray[np.float32]) -> bool:
    denser = sample[sample >= AIR_HU[1]]
    below, air = np.mean(sample < AIR_HU[0]), np.mean((sample >= AIR_HU[0]) & (sample < AIR_HU[1]))
    return bool(below <= MOST_BELOW and air >= LEAST_AIR and (not denser.size or TISSUE_HU[0] <= np.median(denser) <= TISSUE_HU[1]))


def body_box(volume: Volume) -> Box:
    """In-plane box (rows, columns) around the body, one for all slices along axis 0.

    The largest thing of tissue density seen over evenly spaced slices, with a margin; the whole plane where
    nothing stands out. The box only saves work: it never changes the scale.

    Parameters
    ----------
    volume : Volume
        Axial slices along axis 0, or one (Y, X) slice.
    """
    rows, columns = volume.shape[-2:]
    whole = (slice(0, rows), slice(0, columns))
    spacing = volume.spacing[-2:]
    step = [max(1, int(BODY_STEP_MM / s)) if volume.spacing_known else max(1, n // 128) for s, n in zip(spacing, (rows, columns))]
    stack = _slices(volume.array)[..., :: step[0], :: step[1]]
    stack = np.asarray(stack, dtype=np.float32)
    finite = stack[np.isfinite(stack)]
    if finite.size == 0 or finite.min() == finite.max():
        return whole
    if volume.unit == "HU":
        level = BODY_HU
    else:
        low, high = np.percentile(finite, (1.0, 99.0))
        level = float(low + 0.2 * (high - low))
    tissue = stack.reshape(-1, *stack.shape[-2:]) > level
    body = np.zeros(tissue.shape[1:], dtype=bool)
    for plane in tissue:
        # With a frame, as cc3d 4.1 fails on some single rows.
        parts = cc3d.connected_components(np.pad(plane, 1), connectivity=4, binary_image=True)[1:-1, 1:-1]
        if parts.any():
            sizes = np.bincount(parts.ravel())[1:]
            body |= np.isin(parts, 1 + np.flatnonzero(sizes > 0.2 * sizes.max()))
    if not body.any():
        return whole
    box = []
    for axis, (stride, mm, length) in enumerate(zip(step, spacing, (rows, columns))):
        along = np.flatnonzero(body.any(axis=1 - axis)) * stride
        margin = stride + (int(np.ceil(BODY_MARGIN_MM / mm)) if volume.spacing_known else length // 32)
        box.append(slice(max(0, int(along[0]) - margin), min(length, int(along[-1]) + margin + 1)))
    return box[0], box[1]


def assumed_spacing(box: Box) -> tuple[float, float]:
    """Pixel size in mm of an image without one, from the size that bodies have."""
    side = max(part.stop - part.start for part in box)
    return (ASSUMED_BODY_MM / side, ASSUMED_BODY_MM / side)


def sampled(count: int) -> list[int]:
    """Indices of the evenly spaced slices, of so many, that tell of a whole volume."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, BODY_SLICES).round())]


def _slices(array: Array) -> Array:
    if array.ndim == 2:
        return np.asarray(array)
    return np.stack([np.asarray(array[index]) for index in sampled(array.shape[0])])


def _thin(array: Array) -> npt.NDArray[np.float32]:
    return np.asarray(_slices(array)[..., ::4, ::4], dtype=np.float32)
