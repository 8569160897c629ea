"""Do slices lie on one straight, even grid? Else say what is wrong, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError

#: Steps between slices may differ by this share (positions are rounded in the files) ...
_STEP_TOLERANCE = 0.05
#: ... and no slice may lie further from the even grid than this share of a step.
_GRID_TOLERANCE = 0.25
#: Positions may wander sideways by this share of a pixel before the stack counts as sheared.
_SHEAR_TOLERANCE = 0.25
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Slice:
    """What one file says of its place; millimetres in LPS.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        Rows and columns.
    spacing : tuple of float
        Distance from row to row and from column to column.
    rows, columns : (3,) array
        Unit vectors along a row (to the next column) and along a column (to the next row), at right angles.
    position : (3,) array
        Centre of the first pixel.
    step : float
        Distance to the next slice as the file has it; 0 where it does not say.
    rescaled : bool
        Whether it has a slope and an intercept.
    """

    path: Path
    shape: tuple[int, int]
    spacing: tuple[float, float]
    rows: npt.NDArray[np.float64]
    columns: npt.NDArray[np.float64]
    position: npt.NDArray[np.float64]
    step: float
    rescaled: bool

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.rows, self.columns)


def check_alike(slices: list[Slice], name: str) -> None:
    """Raise InputError where slices differ in size, pixel spacing or orientation."""
    one = slices[0]
    for other in slices[1:]:
        if other.shape != one.shape:
            what = f"size ({_by(other.shape)} beside {_by(one.shape)})"
        elif not np.allclose(other.spacing, one.spacing, rtol=1e-4):
            what = f"pixel spacing ({_by(other.spacing)} mm beside {_by(one.spacing)} mm)"
        elif not np.allclose([other.rows, other.columns], [one.rows, one.columns], atol=1e-3):
            what = "orientation"
        else:
            continue
        raise InputError(f"{name} mixes slices of different {what}, first in {other.path.name}; keep only the slices of one stack.")


def check_stack(slices: list[Slice], name: str) -> npt.NDArray[np.float64]:
    """Vector from slice to slice, in mm, of slices sorted along their normal.

    Raises
    ------
    InputError
        Where slices are missing, doubled, unevenly spaced or shifted sideways.
    """
    normal = slices[0].normal
    if len(slices) == 1:
        return normal * (slices[0].step or 1.0)
    positions = np.array([s.position for s in slices])
    along = positions @ normal
    steps = np.diff(along)
    same = np.flatnonzero(steps < 1e-3)
    if same.size:
        one, two = slices[same[0]], slices[same[0] + 1]
        raise InputError(
            f"{name} has two slices at {_at(along[same[0]])} ({one.path.name} and {two.path.name}); keep only the slices of one stack."
        )
    usual = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - usual) > _STEP_TOLERANCE * usual)
    even = along[0] + (along[-1] - along[0]) * np.arange(len(slices)) / (len(slices) - 1)
    if uneven.size:
        gaps = [_gap(along[i], along[i + 1], usual) for i in uneven[:_NAMED]]
        more = f" and at {uneven.size - _NAMED} more places" if uneven.size > _NAMED else ""
        raise InputError(f"{name} is not evenly spaced: {'; '.join(gaps)}{more}; export the whole series.")
    if np.abs(along - even).max() > _GRID_TOLERANCE * usual:
        raise InputError(
            f"{name} is not evenly spaced: the steps between slices change from {steps.min():.4g} to {steps.max():.4g} mm; "
            "export one even stack."
        )
    sideways = positions - np.outer(along, normal)
    if np.abs(sideways - sideways[0]).max() > _SHEAR_TOLERANCE * min(slices[0].spacing):
        raise InputError(
            f"{name} is a sheared stack (tilted gantry, or slices shifted sideways), which cannot be read yet; "
            "export it reformatted to straight slices."
        )
    step: npt.NDArray[np.float64] = normal * ((along[-1] - along[0]) / (len(slices) - 1))
    return step


def _gap(before: float, after: float, usual: float) -> str:
    missing = round((after - before) / usual) - 1
    where = f"between {_at(before)} and {_at(after)}"
    if missing > 0 and abs((after - before) / usual - missing - 1) < 0.1 * (missing + 1):
        return f"{missing} slice{'s are' if missing > 1 else ' is'} missing {where}"
    return f"the step {where} is {after - before:.4g} mm and not {usual:.4g} mm"


def _at(position: float) -> str:
    return f"{position:.2f} mm"


def _by(pair: tuple[Any, Any]) -> str:
    return f"{pair[0]:g} x {pair[1]:g}"
