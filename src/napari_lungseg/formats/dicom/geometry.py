"""Do slices lie on one straight, even grid? Where not: what is wrong, and how they are laid on one.

A stack of a tilted gantry is sheared back: each slice stays in its own plane and is shifted within it, so that the stack's axes
stand at right angles. A sheared affine would say the same without touching a number, but NIfTI as ITK has it, distances along axes
(brush, smoothing, surface distances) and napari's own view all take axes at right angles for granted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.formats.choice import UnevenSlicesError
from napari_lungseg.formats.dicom.headers import Frame
from napari_lungseg.formats.dicom.pixels import read_pixels
from napari_lungseg.preprocess import UnitGuess, judge_unit
from napari_lungseg.volume import Affine, Array, Volume

#: What lies beyond the edges of slices that were shifted.
AIR_HU = -1024
#: Slices nearer together than this, in mm, lie at the same place.
SAME_PLACE_MM = 1e-3
#: Slices that lie nearer than this, in mm, to their even grid lie on it: some files round positions to tenths.
_ROUNDING_MM = 0.1
#: Steps between slices that lie farther may differ by this share ...
_STEP_TOLERANCE = 0.05
#: ... and no slice may lie further from the even grid than this share of a step.
_GRID_TOLERANCE = 0.25
#: Positions may wander sideways by this share of a pixel.
_SHIFT_TOLERANCE = 0.25
_NAMED = 3
#: No stack is longer than this, in mm, and none leans over more than this part of its height (a gantry tilts by 30 degrees).
_LONGEST_MM, _STEEPEST = 5000.0, 2.0
#: A gantry that is tilted by less, in degrees, is not worth a word.
_LEAST_TILT = 0.5
#: A volume may have so many times the slices, and so many times the rows or columns, that were scanned.
_MOST_FILLED = 10


@dataclass(frozen=True, eq=False)
class StackLayout:
    """Where the slices of a stack lie, sorted along their normal.

    Attributes
    ----------
    heights : (Z,) array
        Position of each slice along the normal, in mm.
    grid : (N,) array
        The even positions of the volume; as many as slices unless some are filled in.
    even : bool
        Whether the slices are those of the grid.
    shifts : (Z, 2) array
        How far each slice lies along its columns and rows from where it would in an upright stack, in pixels.
    """

    heights: npt.NDArray[np.float64]
    grid: npt.NDArray[np.float64]
    even: bool
    shifts: npt.NDArray[np.float64]


def stack_volume(frames: list[Frame], name: str, *, fill_gaps: bool = False) -> Volume:
    """The volume of slices of one size and orientation, sorted along their normal (InputError as for :func:`lay_out`)."""
    layout = lay_out(frames, name, fill_gaps=fill_gaps)
    first = frames[0]
    _check_room(layout, first, name)
    _check_numbers(frames)
    array = read_pixels(frames)
    told = _unit(frames, array)
    array = _upright(array, layout.shifts, AIR_HU if told.unit == "HU" else array.min())
    if not layout.even:
        array = _interpolated(array, layout.heights, layout.grid)
    low = layout.shifts.min(axis=0)
    affine: Affine = np.eye(4)
    affine[:3, 0] = first.normal * (layout.grid[1] - layout.grid[0] if len(layout.grid) > 1 else first.step or 1.0)
    affine[:3, 1] = first.columns * first.spacing[0]
    affine[:3, 2] = first.rows * first.spacing[1]
    affine[:3, 3] = first.position + affine[:3, 1:3] @ (low - layout.shifts[0])
    doubts = Counter(frame.doubt for frame in frames if frame.doubt)
    notes = [f"{doubt} in {count} of {len(frames)} slices." for doubt, count in doubts.items()]
    if lean := _lean(frames, layout):
        notes.append(lean)
    if len(frames) == 1 and not first.step:
        notes.append("The file does not say how far from others its only slice lies; 1 mm was taken, so volumes are not known.")
    if told.is_doubtful:
        notes.append(told.why)
    return Volume(array, affine, told.unit, notes=tuple(notes), why_unit=told.why)


def _unit(frames: list[Frame], array: Array) -> UnitGuess:
    meant = {frame.measured for frame in frames}
    if "arbitrary" in meant:
        return UnitGuess("arbitrary", "The file says by RescaleType that its numbers are not HU.")
    return UnitGuess("HU", "The file gives RescaleSlope and RescaleIntercept to HU.") if meant == {"HU"} else judge_unit(array)


def _check_numbers(frames: list[Frame]) -> None:
    """Refuse a slice that does not say what its numbers are, where others of its stack do: theirs may not be its own."""
    signed = any(frame.stored.signed for frame in frames)
    measured = any(frame.measured == "HU" for frame in frames)
    for frame in frames:
        lacks = "PixelRepresentation" if signed and frame.stored.signed is None else ""
        lacks = "RescaleIntercept" if measured and frame.measured == "unsaid" else lacks
        if lacks:
            raise InputError(f"{frame.path} does not say what its numbers are ({lacks}), as other slices do; copy or export it again.")


def _check_room(layout: StackLayout, first: Frame, name: str) -> None:
    """Refuse what no patient is as large as, before memory is asked for it."""
    heights, across = np.ptp(layout.grid), np.ptp(layout.shifts, axis=0) * first.spacing
    room = np.ptp(layout.shifts, axis=0).max()
    if heights > _LONGEST_MM or len(layout.grid) > _MOST_FILLED * len(layout.heights) or not np.isfinite(heights):
        raise InputError(f"{name} has slices {heights:.4g} mm apart, with too much to be filled in between; export one whole stack.")
    if across.max() > _STEEPEST * heights or room > _MOST_FILLED * max(first.shape):
        raise InputError(f"{name} has slices that are shifted {across.max():.4g} mm sideways; export one straight stack.")


def lay_out(frames: list[Frame], name: str, *, fill_gaps: bool = False) -> StackLayout:
    """Find the even grid of slices sorted along their normal.

    Raises
    ------
    UnevenSlicesError
        Where slices are missing or unevenly spaced, unless gaps are to be filled.
    InputError
        Where slices are shifted sideways against each other.
    """
    normal = frames[0].normal
    positions = np.array([frame.position for frame in frames])
    heights = positions @ normal
    if len(frames) == 1:
        return StackLayout(heights, heights, True, np.zeros((1, 2)))
    steps = np.diff(heights)
    usual = float(np.median(steps))
    count = len(frames)
    grid = np.linspace(heights[0], heights[-1], count)
    wrong = _unevenness(heights, grid, usual)
    if wrong and not fill_gaps:
        raise UnevenSlicesError(
            f"{name} is not evenly spaced: {wrong}; export the whole series, or have the gaps filled in between their neighbours "
            "(--fill-gaps in the terminal)."
        )
    if wrong:
        count = round((heights[-1] - heights[0]) / usual) + 1
        grid = np.linspace(heights[0], heights[-1], count)
    return StackLayout(heights, grid, not wrong, _shifts(frames, positions, heights, name))


def _unevenness(heights: npt.NDArray[np.float64], grid: npt.NDArray[np.float64], usual: float) -> str:
    """What is uneven, in words; empty where nothing is."""
    off = np.abs(heights - grid).max()
    if off <= min(_ROUNDING_MM, _GRID_TOLERANCE * usual):
        return ""
    steps = np.diff(heights)
    uneven = np.flatnonzero(np.abs(steps - usual) > _STEP_TOLERANCE * usual)
    if uneven.size:
        gaps = [_gap(heights[i], heights[i + 1], usual) for i in uneven[:_NAMED]]
        return "; ".join(gaps) + (f" and at {uneven.size - _NAMED} more places" if uneven.size > _NAMED else "")
    if off > _GRID_TOLERANCE * usual:
        return f"the steps between slices change from {steps.min():.4g} to {steps.max():.4g} mm"
    return ""


def _shifts(
    frames: list[Frame], positions: npt.NDArray[np.float64], heights: npt.NDArray[np.float64], name: str
) -> npt.NDArray[np.float64]:
    """Shift of each slice within its plane, in pixels; zero where it is within what rounding makes."""
    first = frames[0]
    offsets = (positions - positions[0]) @ np.stack([first.columns, first.rows], axis=1) / first.spacing
    if np.abs(offsets).max() <= _SHIFT_TOLERANCE:
        return np.zeros_like(offsets)
    along = heights - heights[0]
    even = np.outer(along, along @ offsets / (along @ along))
    strays = np.abs(offsets - even).max(axis=1)
    # A lean explains how most slices lie; one that is only drawn aside by a single slice does not.
    if strays.max() > min(_SHIFT_TOLERANCE, 0.5 * np.abs(offsets - np.median(offsets, axis=0)).max()):
        worst = frames[int(strays.argmax())].path.name
        raise InputError(f"{name} has slices that are shifted sideways against each other, most in {worst}; export one straight stack.")
    return even


def _upright(array: Array, shifts: npt.NDArray[np.float64], beyond: float) -> Array:
    """Slices shifted within their planes, linearly interpolated, on planes that hold them all."""
    if not shifts.any():
        return array
    from scipy import ndimage

    moves = shifts - shifts.min(axis=0)
    room = np.ceil(moves.max(axis=0) - 1e-6).astype(int)
    result = np.empty((len(array), *(array.shape[1:] + room)), dtype=array.dtype)
    for plane, source, move in zip(result, array, moves):
        padded = np.pad(source.astype(np.float32), [(0, int(extra)) for extra in room], constant_values=beyond)
        moved = ndimage.shift(padded, move, order=1, mode="grid-constant", cval=beyond)
        plane[...] = moved.round() if array.dtype.kind == "i" else moved
    return result


def _lean(frames: list[Frame], layout: StackLayout) -> str:
    """What is to be told of a tilted gantry; empty where there was none."""
    if layout.shifts.any():
        across = np.ptp(layout.shifts, axis=0) * frames[0].spacing
        degrees = np.degrees(np.arctan2(np.hypot(*across), np.ptp(layout.heights)))
        return (
            f"The slices lie as a gantry tilted by {degrees:.1f} degrees leaves them; they were shifted within their planes until the "
            "stack stands at right angles (numbers between pixels are interpolated, and air was put beyond the edges)."
        )
    tilts = [frame.tilt for frame in frames if abs(frame.tilt) >= _LEAST_TILT]
    if not tilts or len(frames) == 1 or abs(frames[0].normal).max() < np.cos(np.radians(_LEAST_TILT)):
        return ""
    return (
        f"The files say that the gantry was tilted by {abs(tilts[0]):.1f} degrees, but their slices lie straight above each other; "
        "they were read as they lie. If nobody has set the tilt right before, shapes are wrong: export the original series."
    )


def _interpolated(array: Array, heights: npt.NDArray[np.float64], grid: npt.NDArray[np.float64]) -> Array:
    """Slices at the positions of a grid, linearly between the nearest two."""
    result = np.empty((len(grid), *array.shape[1:]), dtype=array.dtype)
    places = np.interp(grid, heights, np.arange(len(heights)))
    for plane, place in zip(result, places):
        below = min(int(place), len(array) - 2)
        share = place - below
        mixed = (1.0 - share) * array[below] + share * array[below + 1]
        plane[...] = mixed.round() if array.dtype.kind == "i" else mixed
    return result


def _gap(before: float, after: float, usual: float) -> str:
    missing = round((after - before) / usual) - 1
    where = f"between {_at(before)} and {_at(after)}"
    if missing > 0 and abs((after - before) / usual - missing - 1) < 0.1 * (missing + 1):
        return f"{missing} slice{'s are' if missing > 1 else ' is'} missing {where}"
    return f"the step {where} is {after - before:.4g} mm and not {usual:.4g} mm"


def _at(position: float) -> str:
    return f"{position:.2f} mm"


def same_plane(one: Frame, other: Frame) -> bool:
    """Whether slices are of one size, pixel spacing and orientation."""
    return (
        one.shape == other.shape
        and np.allclose(other.spacing, one.spacing, rtol=1e-4)
        and np.allclose([other.rows, other.columns], [one.rows, one.columns], atol=1e-3)
    )


def usual_step(frames: list[Frame]) -> float:
    """The usual distance between slices sorted along their normal, in mm; 0 for a lone one."""
    if len(frames) == 1:
        return 0.0
    return float(np.median(np.diff([frame.position @ frames[0].normal for frame in frames])))
