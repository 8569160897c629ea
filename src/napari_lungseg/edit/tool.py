"""What a correction tool is: what it asks for, what it is given, and what it makes of the labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_lungseg import edit
from napari_lungseg.steps import as_box
from napari_lungseg.translation import mark
from napari_lungseg.volume import Array, Box, Volume, bounding_box, outside

Scope = Literal["slice", "volume"]
#: Tells, for a box in the layer's own axes and the labels in it, where edits are allowed.
Allowed = Callable[[Box, Array], npt.NDArray[np.bool_]]

#: The scopes, as the person reads them.
SCOPES: dict[str, Scope] = {mark("This slice"): "slice", mark("Whole volume"): "volume"}


@dataclass(frozen=True, eq=False)
class Work:
    """What a tool is given.

    Attributes
    ----------
    volume : Volume
        The labels of one time point, with their geometry.
    where : tuple
        Index of the part to work on: of a slice, or empty for all of it.
    labels : array
        That part, of two or three axes.
    axis : int
        Axis of the volume along which slices are counted.
    index : int or None
        The displayed slice along it; None where none is.
    label : int
        The label to work on.
    values : mapping
        The tool's parameters.
    image : array or None
        The same part of the image below the labels.
    other : array or None
        The same part of another label layer.
    at : tuple of int or None
        Index of the clicked voxel in that part.
    region : tuple of slice or None
        Box of that part that a shape encloses.
    progress : callable or None
        Called with steps done and steps in all; what it raises ends the tool.
    """

    volume: Volume
    where: tuple[Any, ...]
    labels: Array
    axis: int
    index: int | None
    label: int
    values: Mapping[str, Any]
    image: Array | None = None
    other: Array | None = None
    at: tuple[int, ...] | None = None
    region: Box | None = None
    progress: Callable[[int, int], None] | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres along each axis of the labels."""
        return visible(self.where, self.volume.spacing)

    @property
    def voxel_mm(self) -> tuple[float, ...]:
        """The same, with a slice's thickness as the third number."""
        spacing = self.spacing
        return (*spacing, 1e3 * self.volume.voxel_ml / math.prod(spacing)) if len(spacing) == 2 else spacing


@dataclass(frozen=True)
class Parameter:
    """One thing that a tool asks for.

    Attributes
    ----------
    label, tooltip : str
        For the person.
    value : object
        The default, which also tells the kind of control.
    options : mapping
        For that control, such as its smallest and largest value.
    """

    label: str
    tooltip: str
    value: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes
    ----------
    group, label, tooltip : str
        For the person.
    call : callable
        From what it is given to the new labels.
    parameters : mapping
        What it asks for.
    scopes : tuple
        Where it can work.
    picks : bool
        Whether it needs a voxel, told by a click.
    needs_image : bool
        Whether it looks at the image.
    """

    group: str
    label: str
    tooltip: str
    call: Callable[[Work], Array]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    scopes: tuple[Scope, ...] = ("slice", "volume")
    picks: bool = False
    needs_image: bool = False


@dataclass(frozen=True, eq=False)
class Change:
    """What a tool makes of the labels: a box of the volume, and the labels in it before and after."""

    box: Box
    before: Array
    after: Array


def carry_out(tool: Tool, work: Work) -> Change | None:
    """Run a tool on a copy of the labels; None where nothing would change.

    Parameters
    ----------
    tool : Tool
        Which.
    work : Work
        On what; the labels may be painted meanwhile.

    Raises
    ------
    InputError
        When the tool refuses.
    """
    before = work.labels.copy()
    after = tool.call(replace(work, labels=before))
    box = as_box(work.where, work.volume.shape)
    shape = tuple(part.stop - part.start for part in box)
    before, after = before.reshape(shape), after.reshape(shape)
    tight = bounding_box(before != after)
    if tight is None:
        return None
    return Change(outside(tight, box), before[tight], after[tight])


def restricted(change: Change, allowed: Allowed) -> Change | None:
    """A change where edits are allowed; None where nothing is left of it."""
    after = edit.restrict(change.before, change.after, allowed(change.box, change.before))
    return Change(change.box, change.before, after) if (change.before != after).any() else None


def visible(where: tuple[Any, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of one value for each axis of a volume, those of the axes that a part has which lies at ``where``."""
    hidden = [axis for axis, index in enumerate(where) if not isinstance(index, slice)]
    return tuple(value for axis, value in enumerate(values) if axis not in hidden)
