"""Pictures of a case for its report: slices with the mask over them as PNG, and curves as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from napari_lungseg.mesh import COLOURS, OTHER_COLOUR
from napari_lungseg.volume import Array

#: The lung window, level -600 and width 1500 HU.
WINDOW_HU = (-1350.0, 150.0)
#: Longer edge of a picture, in pixels, and how much of the mask's colour covers the image.
_LONGEST = 420
_OPACITY = 0.4
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
    grey = np.zeros(labels.shape) if image is None else np.clip((image - window[0]) / (window[1] - window[0]), 0.0, 1.0)
    colours = np.repeat(np.nan_to_num(grey)[..., None], 3, axis=-1) * 255.0
    for label in np.unique(labels[labels > 0]):
        colour = np.array(ImageColor.getrgb(COLOURS.get(int(label), OTHER_COLOUR)), dtype=float)
        where = labels == label
        colours[where] = (1.0 - _OPACITY) * colours[where] + _OPACITY * colour
    height, width = labels.shape[0] * pixel[0], labels.shape[1] * pixel[1]
    scale = _LONGEST / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    stream = io.BytesIO()
    Image.fromarray(colours.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR).save(stream, "PNG")
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
