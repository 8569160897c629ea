"""Pictures of a case for its report: slices with the mask over them as PNG, and curves as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from napari_lungseg.mesh import COLOURS, OTHER_COLOUR
from napari_lungseg.volume import Array, Unit

#: The lung window, level -600 and width 1500 HU.
WINDOW_HU = (-1350.0, 150.0)
#: Longer edge of a picture, in pixels, and how much of the mask's colour covers the image.
_LONGEST = 420
_OPACITY = 0.4
#: Part of the voxels that may be darker, and brighter, than a picture of other numbers than HU shows.
_CUT = 0.005
_CHART = (520, 260)
_MARGIN = (52, 16, 12, 40)  # left, right, top, bottom


def slice_png(image: Array | None, labels: Array, pixel: tuple[float, float], window: tuple[float, float]) -> bytes:
    """A slice in grey with its labels in their colours.

    Parameters
    ----------
    image : (rows, columns) array or None
        None for black.
    labels : (rows, columns) array of int
        0 is transparent.
    pixel : (float, float)
        Height and width of a pixel in the same unit; the picture has square ones.
    window : (float, float)
        What is black and what white.
    """
    colours = np.repeat(_grey(image, labels.shape, window)[..., None], 3, axis=-1)
    for label in np.unique(labels[labels > 0]):
        colour = np.array(ImageColor.getrgb(COLOURS.get(int(label), OTHER_COLOUR)), dtype=float)
        where = labels == label
        colours[where] = (1.0 - _OPACITY) * colours[where] + _OPACITY * colour
    return _png(Image.fromarray(colours.astype(np.uint8)).resize(_size(labels.shape, pixel), Image.Resampling.BILINEAR))


def outline_png(image: Array, labels: Array, pixel: tuple[float, float], window: tuple[float, float]) -> bytes:
    """A slice in grey with a line of two pixels along the inner side of each label's border, in the label's colour.

    Parameters
    ----------
    image, labels, pixel, window
        As for :func:`slice_png`.
    """
    size = _size(labels.shape, pixel)
    grey = Image.fromarray(_grey(image, labels.shape, window).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    colours = np.array(grey.convert("RGB"))
    for label in np.unique(labels[labels > 0]):
        # Smooth between thick slices, as the image is.
        whole = Image.fromarray((labels == label).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        mask = np.pad(np.asarray(whole) >= 128, 1)
        inner = mask
        for _ in range(2):
            inner = inner & np.roll(inner, 1, 0) & np.roll(inner, -1, 0) & np.roll(inner, 1, 1) & np.roll(inner, -1, 1)
        colours[(mask & ~inner)[1:-1, 1:-1]] = ImageColor.getrgb(COLOURS.get(int(label), OTHER_COLOUR))
    return _png(Image.fromarray(colours))


def window_of(shown: Array, unit: Unit) -> tuple[float, float]:
    """What is black and what white: the lung window for HU, else nearly all numbers."""
    if unit == "HU":
        return WINDOW_HU
    thin = tuple(slice(None, None, max(1, size // 64)) for size in shown.shape)
    low, high = np.nanquantile(shown[thin], [_CUT, 1.0 - _CUT])
    return float(low), float(max(high, low + 1e-6))


def _grey(image: Array | None, shape: tuple[int, ...], window: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Brightness from 0 to 255; black without an image, and where it has no number."""
    if image is None:
        return np.zeros(shape)
    return np.nan_to_num(np.clip((image - window[0]) / (window[1] - window[0]), 0.0, 1.0)) * 255.0


def _size(shape: tuple[int, ...], pixel: tuple[float, float]) -> tuple[int, int]:
    """Width and height of a picture with square pixels."""
    height, width = shape[0] * pixel[0], shape[1] * pixel[1]
    scale = _LONGEST / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def chart_svg(curves: Mapping[str, tuple[str, npt.ArrayLike, npt.ArrayLike]], x_title: str, y_title: str) -> str:
    """Curves in one frame, as an SVG element.

    Parameters
    ----------
    curves : mapping
        By name: colour, places, values.
    x_title, y_title : str
        What the axes are, with units.
    """
    xs = np.concatenate([np.asarray(x, dtype=float) for _, x, _ in curves.values()])
    ys = np.concatenate([np.asarray(y, dtype=float) for _, _, y in curves.values()])
    low, high, top = float(xs.min()), float(xs.max()), float(ys.max()) or 1.0
    (width, height), (left, right, above, below) = _CHART, _MARGIN
    bottom, end = height - below, width - right

    def x_of(value: float) -> float:
        return left + (value - low) / ((high - low) or 1.0) * (end - left)

    def y_of(value: float) -> float:
        return bottom - value / top * (bottom - above)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(y_title)}">']
    for tick in _ticks(low, high):
        parts.append(f'<line x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="{above}" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{x_of(tick):.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    for tick in _ticks(0.0, top):
        parts.append(f'<line x1="{left}" x2="{end}" y1="{y_of(tick):.1f}" y2="{y_of(tick):.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y_of(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for colour, x, y in curves.values():
        points = " ".join(f"{x_of(a):.1f},{y_of(b):.1f}" for a, b in zip(np.asarray(x, dtype=float), np.asarray(y, dtype=float)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    parts.append(f'<text x="{(left + end) / 2}" y="{height - 6}" text-anchor="middle">{escape(x_title)}</text>')
    middle = (above + bottom) / 2
    parts.append(f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{escape(y_title)}</text>')
    for place, (name, (colour, _, _)) in enumerate(curves.items()):
        y = above + 14 + 16 * place
        parts.append(f'<rect x="{end - 90}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{end - 74}" y="{y}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers in a range."""
    raw = (high - low) / 5 or 1.0
    size = 10.0 ** np.floor(np.log10(raw))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= raw)
    return [float(tick) for tick in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]
