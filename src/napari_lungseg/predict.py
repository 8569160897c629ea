"""From a volume to the probability of what a model knows, slice by slice, in the order in which a person looks."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from napari_lungseg.architecture import NnunetConfig
from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.framing import Spacing, framing_of
from napari_lungseg.model import Model
from napari_lungseg.places import check_device_name
from napari_lungseg.predict_volume import predict_volume
from napari_lungseg.predicted import Notice, OwnPlane, PredictedSlice, Working
from napari_lungseg.preprocess import Box, sampled
from napari_lungseg.resample import Plane
from napari_lungseg.runtimes import find_device, run
from napari_lungseg.translation import mark, say
from napari_lungseg.volume import Array, Orientation, Volume, axis_order

__all__ = ["Notice", "PredictSettings", "PredictedSlice", "predict"]


@dataclass(frozen=True)
class PredictSettings:
    """How to run a model over a volume.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
    axis : int, optional
        Array axis along which axial slices are stacked; by default found from the geometry.
    first : int, optional
        Index along that axis of the slice to begin with, going outward from there; by default slices come in order.
    start, stop : int, optional
        Range of slices, ``stop`` excluded; by default all.
    """

    device: str = "auto"
    axis: int | None = None
    first: int | None = None
    start: int | None = None
    stop: int | None = None

    def __post_init__(self) -> None:
        check_device_name(self.device)

    def slices(self, count: int) -> list[int]:
        """Put the slices of a volume of ``count`` in the order in which they are wanted (InputError for an empty range)."""
        start = 0 if self.start is None else self.start
        stop = count if self.stop is None else self.stop
        if not 0 <= start < stop <= count:
            raise InputError(
                say(
                    "Slices {first} to {last} cannot be segmented: the image has slices 0 to {highest}.",
                    first=start,
                    last=stop - 1,
                    highest=count - 1,
                )
            )
        first = start if self.first is None else min(max(self.first, start), stop - 1)
        # On a tie, the later slice comes first.
        return sorted(range(start, stop), key=lambda index: (abs(index - first), -index))


def predict(volume: Volume, model: Model, settings: PredictSettings | None = None) -> Generator[PredictedSlice | Notice | Working]:
    """Run a model over a volume.

    Parameters
    ----------
    volume : Volume
        The image. Lazy arrays are read one slice at a time.
    model : Model
        From :func:`napari_lungseg.model.load_model`; it is not changed.
    settings : PredictSettings, optional
        Device, axis, order and range.

    Returns
    -------
    generator of PredictedSlice, Notice and, of networks of volumes, Working
        Can be closed at any time; what a GPU held is freed then.

    Raises
    ------
    InputError
        At once when the settings do not fit the volume or the computer; while running when the memory does not suffice.
    """
    settings = settings or PredictSettings()
    stack, upright = _axial(volume, settings.axis)
    order = settings.slices(stack.storage_count)
    device = find_device(settings.device)
    if isinstance(model.card.architecture, NnunetConfig):
        return predict_volume(volume, model, stack.axis, order, device)
    return _predict(stack, upright, model, order, device)


def slices_needed(volume: Volume, card: Card, settings: PredictSettings) -> tuple[int, list[int]]:
    """Tell which slices :func:`predict` reads of a volume, which may be lazy: the axis of the array, and the indices along it.

    Raises
    ------
    InputError
        When the settings do not fit the volume.
    """
    stack, _ = _axial(volume, settings.axis)
    count, config = stack.storage_count, card.architecture
    wanted = settings.slices(count)
    if volume.ndim == 2 or isinstance(config, NnunetConfig):
        return 0, list(range(volume.shape[0]))
    looked_at = sampled(count)
    found = {count - 1 - index if stack.is_reversed else index for index in looked_at}
    for index in wanted:
        found.update(min(max(near, 0), count - 1) for near in stack.neighbours(index, config.context_slices))
    return stack.axis, sorted(found)


def _predict(stack: _AxialSlices, upright: Volume, model: Model, order: list[int], device: str) -> Generator[PredictedSlice | Notice]:
    config, preprocessing = model.card.architecture, model.card.preprocessing
    assert not isinstance(config, NnunetConfig)
    framing, intensity_range = framing_of(preprocessing), preprocessing.intensity_range(upright)
    cut = framing.cut(upright, intensity_range)
    for text in filter(None, (stack.notice, cut.notice)):
        yield Notice(text)
    reach = config.context_slices

    @lru_cache(maxsize=max(1, 8 * reach))
    def channel(index: int) -> tuple[Plane, Box, Spacing]:
        values = stack.read(index)
        box, spacing = cut.of(values)
        return framing.plane(values[box], spacing, intensity_range, config), box, spacing

    cuts: deque[tuple[Box, Spacing]] = deque()

    def network_input(index: int) -> npt.NDArray[np.float32]:
        last = stack.storage_count - 1
        channels = [channel(min(max(near, 0), last)) for near in stack.neighbours(index, reach)]
        cuts.append(channels[reach][1:])
        return np.stack([plane for plane, _, _ in channels])

    with closing(run(model, device, map(network_input, order))) as results:
        done = 0
        for result in results:
            if isinstance(result, Notice):
                yield result
                continue
            box, spacing = cuts.popleft()
            found = framing.found(result.probabilities, (box[0].stop - box[0].start, box[1].stop - box[1].start), spacing)
            percent, classes = (
                None if part is None else stack.restore(_uncropped(part, upright, box)) for part in (found.percent, found.classes)
            )
            assert percent is not None
            own = None if found.own is None else OwnPlane(*found.own, box, stack.orientation, stack.storage_count)
            done += 1
            yield PredictedSlice(stack.axis, order[done - 1], percent, done, len(order), classes, result.runtime, own)


def _uncropped(part: npt.NDArray[np.uint8], upright: Volume, box: Box) -> npt.NDArray[np.uint8]:
    plane = np.zeros(upright.shape[1:], dtype=np.uint8)
    plane[box] = part
    return plane


def _axial(volume: Volume, axis: int | None) -> tuple[_AxialSlices, Volume]:
    """Slices of a volume for reading, and the upright volume (always three axes) that they make up."""
    notice = ""
    if axis is not None and not (0 <= axis < volume.ndim and (volume.ndim == 3 or axis == 0)):
        raise InputError(say("Axis {axis} cannot hold the slices of an image of shape {shape}.", axis=axis, shape=volume.shape))
    if 0 in volume.shape:
        raise InputError(say("The image is empty (shape {shape}).", shape=volume.shape))
    if axis is None:
        axis = volume.axial_axis
        if volume.spacing_known and (volume.ndim == 2 or volume.shape[axis] == 1) and axis_order(volume.affine)[0] != axis:
            notice = mark("This slice is not an axial one; models for axial slices may fail on it.")
    if volume.ndim == 3 and volume.spacing_known and axis == axis_order(volume.affine)[0]:
        # The geometry alone is turned: not every lazy array can be.
        upright, orientation = replace(volume, array=np.broadcast_to(np.uint8(0), volume.shape)).reorient()
    elif volume.ndim == 3:
        others = [a for a in range(3) if a != axis]
        orientation = Orientation((axis, *others), ())
        upright = replace(volume, array=np.broadcast_to(np.uint8(0), [volume.shape[a] for a in orientation.order]))
        upright = replace(upright, affine=volume.affine[:, [axis, *others, 3]])
    else:
        upright, orientation = volume, Orientation((0, 1, 2), ())
    stack = _AxialSlices(volume, orientation, notice)
    return stack, replace(upright, array=cast(Any, stack))


class _AxialSlices:
    """Axial slices, feet first, as numpy arrays that are read one at a time from whatever holds the voxels."""

    def __init__(self, volume: Volume, orientation: Orientation, notice: str) -> None:
        self.notice, self.orientation = notice, orientation
        self.axis = orientation.order[0]
        shape = (1, *volume.shape)[-3:]
        self.shape = tuple(shape[axis] for axis in orientation.order)
        self.ndim = 3
        self.dtype = volume.array.dtype
        self.storage_count = self.shape[0]
        self._volume = volume
        self.is_reversed = 0 in orientation.flips
        rows, columns = orientation.order[1:]
        self._plane = Orientation((0, 1) if rows < columns else (1, 0), tuple(axis - 1 for axis in orientation.flips if axis > 0))

    def __getitem__(self, index: int) -> Array:
        return self.read(self.storage_count - 1 - index if self.is_reversed else index)

    def read(self, storage_index: int) -> Array:
        """Upright slice at an index of the storage axis."""
        array = self._volume.array
        plane = array if self._volume.ndim == 2 else array[(slice(None),) * self.axis + (storage_index,)]
        return self._plane.apply(np.asarray(plane))

    def neighbours(self, storage_index: int, reach: int) -> range:
        """Storage indices of a slice and its neighbours, feet first; they may lie outside."""
        step = -1 if self.is_reversed else 1
        return range(storage_index - step * reach, storage_index + step * (reach + 1), step)

    def restore(self, plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn an upright plane back to the orientation of storage."""
        return np.ascontiguousarray(self._plane.restore(plane))
