"""From a volume to logits and back to its voxels, as nnU-Net v2 (2.8) does it: crop, normalise, resample, sliding window, mirroring."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from skimage.transform import resize
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.architecture import NnunetConfig
from napari_lungseg.nnunet.network import make_network
from napari_lungseg.predicted import Working

#: Pixels this many times as long as they are wide are resampled slice by slice.
_ANISOTROPY = 3
#: Part of a patch by which windows move at most, of what their weights fall off, and what the largest weight is.
_STEP, _SIGMA, _PEAK = 0.5, 1 / 8, 10
#: Standard deviations are not divided by less.
_LEAST_DEVIATION = 1e-8

Array = npt.NDArray[np.float32]
Half = npt.NDArray[np.float16]
Spacing = Sequence[float]


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a volume (Z, Y, X).

    Attributes
    ----------
    percent : array of uint8
        Of the most likely class against the background; 50 and more where that class is more likely.
    classes : array of uint8
        Index of the most likely class.
    """

    percent: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]


def infer(
    image: Array,
    spacing: Spacing,
    config: NnunetConfig,
    window: tuple[float, float],
    folds: Sequence[Mapping[str, Array]],
    device: torch.device,
) -> Generator[Working, None, Found]:
    """Run a network over a volume.

    Parameters
    ----------
    image : (Z, Y, X) array of float32
        As nnU-Net's reader gives it.
    spacing : sequence of float
        mm along z, y, x.
    config : NnunetConfig
        The plans.
    window : tuple of float
        Between which CT numbers are clipped.
    folds : sequence of dict
        Weights of each fold.
    device : torch.device
        Where to.

    Returns
    -------
    generator of Working, then Found
        Can be closed at any time.
    """
    image, own = image.transpose(config.transpose), [float(spacing[axis]) for axis in config.transpose]
    box = _filled_box(image)
    cropped = _normalised(image[box], config, window)
    wanted = list(config.spacing) if len(config.spacing) == 3 else [own[0], *config.spacing]
    shape = [round(before / after * side) for before, after, side in zip(own, wanted, cropped.shape, strict=True)]
    data = resample(cropped, shape, own, wanted, config.data_orders, config.separate_z)
    logits: Tensor | None = None
    for place, weights in enumerate(folds):
        network = make_network(config, weights).to(device)
        running = sliding_window(network, torch.from_numpy(data)[None], config, device)
        found = yield from _shifted(running, place, len(folds))
        logits = found if logits is None else logits + found
    assert logits is not None
    if len(folds) > 1:
        logits = logits / len(folds)
    result = _judged(logits.numpy(), cropped.shape, wanted, own, config)
    back = np.argsort(config.transpose)
    planes = []
    for part in (result.percent, result.classes):
        whole = np.zeros(image.shape, np.uint8)
        whole[box] = part
        planes.append(np.ascontiguousarray(whole.transpose(back)))
    return Found(*planes)


def _shifted(running: Generator[Working, None, Tensor], place: int, count: int) -> Generator[Working, None, Tensor]:
    """Count the windows of one fold among those of all."""
    while True:
        try:
            step = next(running)
        except StopIteration as ended:
            return ended.value
        yield Working(place * step.total + step.done, count * step.total)


def _filled_box(image: Array) -> tuple[slice, ...]:
    filled = ndimage.binary_fill_holes(image != 0)
    if not filled.any():
        return tuple(slice(0, side) for side in image.shape)
    found: tuple[slice, ...] = ndimage.find_objects(filled.astype(np.uint8))[0]
    return found


def _normalised(image: Array, config: NnunetConfig, window: tuple[float, float]) -> Array:
    image = np.array(image, np.float32)
    if config.normalisation == "ct":
        np.clip(image, *window, out=image)
        image -= config.mean
        image /= max(config.deviation, _LEAST_DEVIATION)
    elif config.normalisation == "zscore":
        mean, deviation = image.mean(), image.std()
        image -= mean
        image /= max(deviation, _LEAST_DEVIATION)
    return image


def resample(
    image: npt.NDArray[np.floating], shape: Sequence[int], before: Spacing, after: Spacing, orders: tuple[int, int], separate: bool | None
) -> npt.NDArray[np.floating]:
    """Bring a volume to a shape, in its own type; where slices are thick, in the plane and then along them.

    Parameters
    ----------
    image : (A, B, C) array
    shape : sequence of int
    before, after : sequence of float
        Spacing of the volume and of what is wanted, which say whether slices are thick.
    orders : tuple of int
        Of the splines, in the plane (or in the volume) and along thick slices.
    separate : bool, optional
        Whether slices are taken for thick; None: where spacings differ by more than three times.
    """
    if tuple(image.shape) == tuple(shape):
        return image
    axis, values = _thick_axis(before, after, separate), image.astype(np.float64)
    if axis is None:
        return np.asarray(resize(values, shape, orders[0], mode="edge", anti_aliasing=False), image.dtype)
    plane = tuple(side for place, side in enumerate(shape) if place != axis)
    slices = [resize(part, plane, orders[0], mode="edge", anti_aliasing=False) for part in np.moveaxis(values, axis, 0)]
    values = np.stack(slices, axis)
    if values.shape[axis] != shape[axis]:
        # Along the slices alone, as their pixels fit already.
        scale = values.shape[axis] / shape[axis]
        places = scale * (np.arange(shape[axis]) + 0.5) - 0.5
        grid = np.meshgrid(*(places if one == axis else np.arange(side) for one, side in enumerate(shape)), indexing="ij")
        values = ndimage.map_coordinates(values, grid, order=orders[1], mode="nearest")
    return np.asarray(values, image.dtype)


def _thick_axis(before: Spacing, after: Spacing, separate: bool | None) -> int | None:
    if separate is None:
        spacing = next((one for one in (before, after) if max(one) / min(one) > _ANISOTROPY), None)
    else:
        spacing = before if separate else None
    if spacing is None:
        return None
    longest = [axis for axis, side in enumerate(spacing) if max(spacing) / side == 1]
    return longest[0] if len(longest) == 1 else None


@torch.inference_mode()
def sliding_window(network: torch.nn.Module, data: Tensor, config: NnunetConfig, device: torch.device) -> Generator[Working, None, Tensor]:
    """Logits (classes + 1, A, B, C) in float16 of an image (1, A, B, C), the weighted mean of overlapping windows.

    Windows are counted while it runs; the logits are what is returned.
    """
    patch = config.patch if len(config.patch) == 3 else (1, *config.patch)
    missing = [max(0, least - side) for least, side in zip(patch, data.shape[1:], strict=True)]
    before = [side // 2 for side in missing]
    padding = [end for axis in (2, 1, 0) for end in (before[axis], missing[axis] - before[axis])]
    inner = tuple(slice(start, start + side) for start, side in zip(before, data.shape[1:], strict=True))
    data = F.pad(data, padding)
    logits = torch.zeros((config.classes + 1, *data.shape[1:]), dtype=torch.half)
    total = torch.zeros(data.shape[1:], dtype=torch.half)
    weights = _weights(config.patch)
    windows = list(itertools.product(*(_steps(whole, side) for whole, side in zip(data.shape[1:], patch, strict=True))))
    for done, corner in enumerate(windows, 1):
        place = tuple(slice(start, start + side) for start, side in zip(corner, patch, strict=True))
        view = data[(slice(None), *place)]
        flat = len(config.patch) == 2
        found = _mirrored(network, (view[:, 0] if flat else view)[None].to(device), config.mirror)[0].cpu()
        found = found * weights
        logits[(slice(None), *place)] += found[:, None] if flat else found
        total[place] += weights
        yield Working(done, len(windows))
    return (logits / total)[(slice(None), *inner)]


def _mirrored(network: torch.nn.Module, view: Tensor, axes: Sequence[int]) -> Tensor:
    flips = [tuple(axis + 2 for axis in chosen) for count in range(1, len(axes) + 1) for chosen in itertools.combinations(axes, count)]
    # As nnU-Net does on GPUs, and on no other device.
    with torch.autocast("cuda") if view.device.type == "cuda" else nullcontext():
        logits: Tensor = network(view)
        for flip in flips:
            logits += torch.flip(network(torch.flip(view, flip)), flip)
    return logits / (len(flips) + 1) if flips else logits


def _weights(patch: Sequence[int]) -> Tensor:
    peak = np.zeros(patch)
    peak[tuple(side // 2 for side in patch)] = 1
    blurred = ndimage.gaussian_filter(peak, [side * _SIGMA for side in patch], 0, mode="constant", cval=0)
    blurred /= np.max(blurred) / _PEAK
    weights = torch.from_numpy(blurred).to(torch.half)
    weights[weights == 0] = weights[weights > 0].min()
    return weights


def _steps(whole: int, side: int) -> list[int]:
    if side == 1:
        return list(range(whole))
    count = int(np.ceil((whole - side) / (side * _STEP))) + 1
    return [int(np.round((whole - side) / (count - 1) * index)) for index in range(count)] if count > 1 else [0]


def _judged(logits: Half, shape: Sequence[int], before: Spacing, after: Spacing, config: NnunetConfig) -> Found:
    """The most likely class of each voxel of the cropped image; one class at a time, so that the memory suffices for many."""
    background, best, classes = (
        resample(logits[0], shape, before, after, config.logit_orders, config.separate_z_logits),
        np.full(shape, -np.inf, np.float16),
        np.zeros(shape, np.uint8),
    )
    for index in range(config.classes):
        one = resample(logits[index + 1], shape, before, after, config.logit_orders, config.separate_z_logits)
        more = one > best
        best[more], classes[more] = one[more], index
    difference = best.astype(np.float32) - background.astype(np.float32)
    share = np.floor(100.0 / (1.0 + np.exp(-difference))).clip(0, 100)
    # The first of equal classes is the one that is found, and the background is the first.
    return Found(np.where(difference > 0, np.maximum(share, 50), np.minimum(share, 49)).astype(np.uint8), classes)
