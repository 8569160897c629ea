"""Hold an exported file against the model in torch, on real slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_lungseg.agreement import dice, overlap
from napari_lungseg.errors import InputError
from napari_lungseg.export.facts import network_range
from napari_lungseg.framing import framing_of
from napari_lungseg.model import Model
from napari_lungseg.resample import padded
from napari_lungseg.sample import sample_ct
from napari_lungseg.unet import probabilities

Batch = npt.NDArray[np.float32]

#: Slices of the sample, two at a time, and a part of one whose sides no network would choose.
SLICES, PART = 8, (37, 101)
#: Far outside of every window; the graph has to clip it, and takes NaN for air.
BEYOND_HU = 20_000.0
#: Of each precision the largest difference of probabilities, and the least Dice.
BOUNDS = {"float32": (1e-3, 0.9999), "float16": (0.1, 0.999), "int8": (1.0, 0.995)}


@dataclass(frozen=True)
class Agreement:
    """How near an exported file is to the model in torch.

    Attributes
    ----------
    slices : int
        That were compared.
    difference : float
        Largest difference of probabilities.
    dice : float
        Of the masks at 50 %, all slices together.
    """

    slices: int
    difference: float
    dice: float


def sample_images(model: Model, count: int = SLICES) -> Batch:
    """Evenly spaced slices of the sample (N, channels, H, W) as an exported graph takes them, in HU."""
    framing, volume = framing_of(model.card.preprocessing), sample_ct().reorient()[0]
    window = model.card.preprocessing.window_hu
    cut, config = framing.cut(volume, window), model.card.unet
    planes = []
    for index in np.linspace(2, len(volume.array) - 3, count).round().astype(int):
        values = np.asarray(volume.array[index])
        box, spacing = cut.of(values)
        rows, columns = framing.grid((box[0].stop - box[0].start, box[1].stop - box[1].start), spacing)
        planes.append(framing.plane(values[box], spacing, window, config)[:rows, :columns])
    bottom, top = network_range(model.card)
    hu = window[0] + (np.stack(planes) - bottom) * np.float32((window[1] - window[0]) / (top - bottom))
    return np.repeat(hu[:, None], config.in_channels, axis=1).astype(np.float32)


def expected(model: Model, images: Batch) -> Batch:
    """What torch gives for images in HU, each on its own, padded as prediction pads them."""
    (low, high), (bottom, top) = model.card.preprocessing.window_hu, network_range(model.card)
    scaled = bottom + (np.clip(np.nan_to_num(images, nan=low), low, high) - low) * np.float32((top - bottom) / (high - low))
    rows, columns = images.shape[2:]
    full = np.full((*images.shape[:2], *padded((rows, columns), model.card.unet)), bottom, np.float32)
    full[..., :rows, :columns] = scaled
    with torch.inference_mode():
        found = [probabilities(model.network(torch.from_numpy(image[None]))).numpy() for image in full]
    return np.concatenate(found)[..., :rows, :columns]


def check(model: Model, run: Callable[[Batch], Batch], precision: str) -> Agreement:
    """Compare, and refuse what differs.

    Parameters
    ----------
    model : Model
        What was exported.
    run : callable
        Gives probabilities (N, classes, H, W) of images (N, channels, H, W) in HU, by the file that was written.
    precision : str
        A key of :data:`BOUNDS`.

    Raises
    ------
    InputError
        When probabilities or masks differ more than they may.
    """
    images = sample_images(model)
    images[images == images.min()] = -BEYOND_HU
    images[images == images.max()] = BEYOND_HU
    images[..., 0] = np.nan
    batches = [images[start : start + 2] for start in range(0, len(images), 2)] + [images[:1, :, : PART[0], : PART[1]]]
    difference, both, total = 0.0, 0, 0
    for batch in batches:
        found, wanted = run(batch), expected(model, batch)
        if found.shape != wanted.shape or not np.isfinite(found).all():
            raise InputError(f"the file gives {found.shape} for {batch.shape}, or numbers that are not finite; nothing was written.")
        difference = max(difference, float(np.abs(found - wanted).max()))
        counted = overlap(found, wanted)
        both, total = both + counted[0], total + counted[1]
    agreement = Agreement(len(images), difference, dice(both, total))
    most, least = BOUNDS[precision]
    if difference > most or agreement.dice < least:
        raise InputError(
            f"the file does not find what the model finds: its probabilities differ by up to {difference:.2g}, and the masks have "
            f"Dice {agreement.dice:.4f}, where {most:g} and {least:g} are allowed; nothing was written."
        )
    return agreement
