"""From the slices of a volume to what a network reads, and from what it gives back to their pixels: one code for training and prediction.

There are three ways, and a model's card says which is its own (:class:`~napari_lungseg.preprocess.Preprocessing`):
:class:`Framing`, this package's, :class:`LungmaskFraming`, that of the package lungmask, and :class:`WholeFraming` for networks that
read slices of one size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.architecture import OnnxConfig, UNetConfig
from napari_lungseg.preprocess import Box, Preprocessing, assumed_spacing, body_box, normalise
from napari_lungseg.resample import Plane, network_plane, resize
from napari_lungseg.translation import say
from napari_lungseg.volume import Array, Volume

#: Slices between these widths, in mm, can show people; beyond them the physical size is taken for wrong.
PLAUSIBLE_MM = (40.0, 2000.0)

Bytes = npt.NDArray[np.uint8]
Spacing = tuple[float, float]


@dataclass(frozen=True)
class Cut:
    """Where on the slices of a volume the body is, and how large its pixels are taken to be.

    Attributes
    ----------
    of : callable
        Gives the box and the pixel size (mm) of a slice (H, W) of it.
    notice : str
        What a person should know of it; empty for nothing.
    """

    of: Callable[[Array], tuple[Box, Spacing]]
    notice: str = ""


@dataclass(frozen=True, eq=False)
class Found:
    """What a network found on a cut slice.

    Attributes
    ----------
    percent : (H, W) array of uint8
        On the pixels of the slice.
    classes : (H, W) array of uint8 or None
        Index of the most likely class; None where there is one only.
    own : tuple of array, or None
        Both of these on the network's pixels, where masks are made on those.
    """

    percent: Bytes
    classes: Bytes | None
    own: tuple[Bytes, Bytes] | None = None


class Framing:
    """One box around the body for all slices, at the model's pixel size; the probability is that of all classes together.

    Parameters
    ----------
    preprocessing : Preprocessing
        From the model's card.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def cut(self, upright: Volume, intensity_range: tuple[float, float]) -> Cut:
        """Find the body on the slices along axis 0 of a volume; ``intensity_range`` is what its model's preprocessing gives for it."""
        box, notice = body_box(upright), ""
        spacing: Spacing = (upright.spacing[-2], upright.spacing[-1])
        if not upright.spacing_known:
            spacing = assumed_spacing(box)
        else:
            width = max(spacing[0] * upright.shape[-2], spacing[1] * upright.shape[-1])
            if not PLAUSIBLE_MM[0] <= width <= PLAUSIBLE_MM[1]:
                notice = say("The slices are {width:.3g} mm wide, which no chest is: the size of a chest is assumed instead.", width=width)
                spacing = assumed_spacing(box)
        return Cut(lambda _: (box, spacing), notice)

    def grid(self, size: tuple[int, int], spacing: Spacing) -> tuple[int, int]:
        """Rows and columns of the network's plane that a cut slice of ``size`` takes."""
        return self._preprocessing.grid((slice(0, size[0]), slice(0, size[1])), spacing)

    def plane(self, values: Array, spacing: Spacing, intensity_range: tuple[float, float], config: UNetConfig | OnnxConfig) -> Plane:
        """A cut slice (H, W), in the image's own numbers, as a network of this shape reads it."""
        normalised = np.ascontiguousarray(normalise(values, *intensity_range))
        return network_plane(normalised, self.grid(normalised.shape, spacing), config)

    def scaled(self, view: Any) -> Any:
        """A training view, an array or tensor from -1 to 1, as the network reads it."""
        return view

    def found(self, probabilities: Plane, size: tuple[int, int], spacing: Spacing) -> Found:
        """From what the network gives (classes, H, W) to the pixels of the cut slice of ``size``.

        The probabilities are resized, not the classes, whose borders would become stairs.
        """
        rows, columns = self.grid(size, spacing)
        own = [resize(np.ascontiguousarray(plane), size) for plane in probabilities[:, :rows, :columns]]
        percent = np.rint(np.clip(sum(own), 0.0, 1.0) * np.float32(100.0)).astype(np.uint8)
        return Found(percent, None if len(own) == 1 else np.argmax(own, axis=0).astype(np.uint8))


class WholeFraming(Framing):
    """Whole slices stretched to the size that the network reads."""

    def cut(self, upright: Volume, intensity_range: tuple[float, float]) -> Cut:
        """Leave every slice as it is."""
        whole = (slice(0, upright.shape[-2]), slice(0, upright.shape[-1]))
        return Cut(lambda _: (whole, (1.0, 1.0)))

    def grid(self, size: tuple[int, int], spacing: Spacing) -> tuple[int, int]:
        """Rows and columns of the network's plane."""
        assert self._preprocessing.size_px is not None
        return self._preprocessing.size_px


#: Sides of the plane that networks of lungmask read.
SIDE = 256
#: 50 %, from which on a class is more likely than the background.
HALF = 50


class LungmaskFraming(Framing):
    """The body of each slice by itself, stretched to 256 x 256 pixels, as lungmask does it (0.2.22; see :mod:`~napari_lungseg.lungmask`).

    The probability is that of the most likely class against the background, rounded down, so that 50 % and more is where lungmask finds
    that class. Pixels have no size; that in the card is about what they show, for training.
    """

    def cut(self, upright: Volume, intensity_range: tuple[float, float]) -> Cut:
        """Find the body on each slice."""
        from napari_lungseg.lungmask import body_of

        def of(values: Array) -> tuple[Box, Spacing]:
            box = body_of(self._hu(values, intensity_range))
            rows, columns = (part.stop - part.start for part in box)
            side = self._preprocessing.spacing_mm * SIDE
            return box, (side / rows, side / columns)

        return Cut(of)

    def grid(self, size: tuple[int, int], spacing: Spacing) -> tuple[int, int]:
        """Rows and columns of the network's plane."""
        return SIDE, SIDE

    def plane(self, values: Array, spacing: Spacing, intensity_range: tuple[float, float], config: UNetConfig | OnnxConfig) -> Plane:
        """A cut slice as the network reads it."""
        from napari_lungseg.lungmask import stretched

        low, high = self._preprocessing.window_hu
        square = stretched(self._hu(values, intensity_range), SIDE)
        return np.divide(square - _number(low), _number(high - low)).astype(np.float32)

    def scaled(self, view: Any) -> Any:
        """From -1 .. 1 to 0 .. 1."""
        return (view + 1.0) / 2.0

    def found(self, probabilities: Plane, size: tuple[int, int], spacing: Spacing) -> Found:
        """To the nearest of the slice's pixels."""
        from napari_lungseg.lungmask import nearest

        best, background = probabilities.max(axis=0), 1.0 - probabilities.sum(axis=0)
        classes = probabilities.argmax(axis=0).astype(np.uint8)
        share = np.floor(np.float32(100.0) * best / np.maximum(best + background, np.finfo(np.float32).tiny)).clip(0, 100)
        percent = np.where(best > background, np.maximum(share, HALF), np.minimum(share, HALF - 1)).astype(np.uint8)
        return Found(nearest(percent, size), nearest(classes, size) if len(probabilities) > 1 else None, (percent, classes))

    def _hu(self, values: Array, intensity_range: tuple[float, float]) -> Array:
        """A slice within the window: HU as they are, in their type, and of other numbers what lies as far up in their range."""
        low, high = self._preprocessing.window_hu
        if values.dtype.kind not in "fiu" or values.dtype == np.float16 or intensity_range != (low, high):
            values = np.asarray(values, np.float32)
        if intensity_range != (low, high):
            values = (values - np.float32(intensity_range[0])) * np.float32((high - low) / (intensity_range[1] - intensity_range[0])) + low
        if values.dtype.kind == "f":
            return np.clip(np.nan_to_num(values.astype(values.dtype.newbyteorder("=")), nan=low), low, high)
        return np.clip(values.astype(np.int64), _number(low), _number(high)).astype(np.int16)


_FRAMINGS = {"lungseg": Framing, "lungmask": LungmaskFraming}


def framing_of(preprocessing: Preprocessing) -> Framing:
    """The framing that a card asks for."""
    if preprocessing.size_px is not None:
        return WholeFraming(preprocessing)
    return _FRAMINGS[preprocessing.convention](preprocessing)


def _number(value: float) -> int | float:
    """A whole number as such, which leaves arrays of whole numbers what they are."""
    return int(value) if value == int(value) else value
