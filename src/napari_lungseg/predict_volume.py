"""Networks of nnU-Net over a volume: all of it first, then slice by slice, in the order in which a person looks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from napari_lungseg.architecture import NnunetConfig
from napari_lungseg.errors import InputError
from napari_lungseg.model import Model
from napari_lungseg.predicted import Notice, PredictedSlice, Working
from napari_lungseg.translation import say
from napari_lungseg.volume import Volume

#: Spacing of a lone slice, in place of its thickness, as nnU-Net's reader has it.
_LONE = 999.0


def predict_volume(
    volume: Volume, model: Model, axis: int, order: Sequence[int], device: str
) -> Generator[PredictedSlice | Notice | Working]:
    """Run a network of nnU-Net over a volume.

    Parameters
    ----------
    volume : Volume
        The image; it is read whole.
    model : Model
        With a :class:`~napari_lungseg.architecture.NnunetConfig`.
    axis : int
        Of the slices.
    order : sequence of int
        Slices to give, in their order.
    device : str
        Where to run it.

    Raises
    ------
    InputError
        When the volume has no physical size, or the memory does not suffice.
    """
    from napari_lungseg.device import choose_device, is_out_of_memory
    from napari_lungseg.nnunet.inference import infer

    config = model.card.architecture
    assert isinstance(config, NnunetConfig)
    if not volume.spacing_known:
        raise InputError(say("{model} needs to know how large pixels are, and this image does not say it.", model=model.card.name))
    flat = volume.ndim == 2
    pieces = [volume.array] if flat else [volume.array[(slice(None),) * axis + (index,)] for index in range(volume.shape[axis])]
    whole = replace(volume, array=np.asarray(pieces[0]) if flat else np.stack([np.asarray(piece) for piece in pieces], axis))
    turned, orientation = whole.reorient() if config.upright else (whole, None)
    image, spacing = np.asarray(turned.array, np.float32), tuple(turned.spacing)
    if flat:
        image, spacing = image[None], (_LONE * max(spacing), *spacing)
    # Right to left and front to back run the other way in RAS.
    flips = (slice(None), slice(None, None, -1), slice(None, None, -1)) if config.upright else (slice(None),) * 3
    image = _in_window(image, model, volume)[flips]
    where = choose_device(device)
    while True:
        try:
            found = yield from infer(image, spacing, config, model.card.preprocessing.window_hu, model.folds, where)
            break
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            if where.type == "cpu":
                raise InputError(say("The memory does not suffice for this image with {model}.", model=model.card.name)) from error
            where = choose_device("cpu")
        yield Notice(say("The GPU memory ran out: going on with the CPU, which takes longer."), device="cpu")
    planes: list[npt.NDArray[np.uint8]] = []
    for part in (found.percent, found.classes):
        part = part[flips]
        planes.append(part[0] if flat else part if orientation is None else orientation.restore(part))
    import torch

    runtime = f"torch {torch.__version__}, nnU-Net"
    for done, index in enumerate(order, 1):
        percent, classes = (np.ascontiguousarray(part if flat else part.take(index, axis)) for part in planes)
        yield PredictedSlice(axis, index, percent, done, len(order), classes if config.classes > 1 else None, runtime)


def _in_window(image: npt.NDArray[np.float32], model: Model, volume: Volume) -> npt.NDArray[np.float32]:
    """HU as they are; of other numbers what lies as far up in their range, where the plans are those of a CT."""
    low, high = model.card.preprocessing.window_hu
    bottom, top = model.card.preprocessing.intensity_range(volume)
    if (low, high) == (bottom, top) or model.card.architecture.normalisation != "ct":  # type: ignore[union-attr]
        return image
    return np.asarray((image - bottom) * ((high - low) / (top - bottom)) + low, np.float32)
