"""How long a training run will take here, by trying."""

from __future__ import annotations

import time

import torch

from napari_lungseg.architecture import PRESETS
from napari_lungseg.device import choose_device
from napari_lungseg.model import load_model
from napari_lungseg.training.batches import Batch
from napari_lungseg.training.distributed import World
from napari_lungseg.training.scoring import Tally
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.step import Learner
from napari_lungseg.unet import UNet

#: Part of a run that goes into drawing views and into scoring, beside the network's own time (measured on two CPU cores).
BESIDE = 0.3


def estimate_seconds(settings: TrainSettings, base: str | None, preset: str = "small", device: str = "auto") -> float:
    """Longest time that a run takes on this computer; early stopping may end it sooner.

    Parameters
    ----------
    settings : TrainSettings
        Of the run.
    base, preset : str
        As in :func:`~.prepare.prepare`.
    device : str
        Where to train.

    Raises
    ------
    InputError
        When the base or the device cannot be used, or the memory does not suffice for one view.
    """
    where = choose_device(device)
    network = load_model(base).network if base is not None else UNet(PRESETS[preset])
    network.to(where, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    learner = Learner(network, settings.loss, World(0, 1, where))
    side, count = settings.view_px, settings.batch_size
    batch = Batch(torch.zeros(count, 1, side, side), torch.zeros(count, side, side, dtype=torch.uint8), count, 0, 0)
    seconds = 0.0
    for _ in range(2):  # the first one also warms up
        began = time.perf_counter()
        learner.learn(batch, count, Tally(()))
        seconds = time.perf_counter() - began
    # The coarse part has twice the views at a quarter of the price.
    price = 1.0 - 0.5 * settings.coarse_share
    whole = settings.epochs * settings.steps_per_epoch * seconds * price * (1.0 + BESIDE)
    return whole if settings.minutes is None else min(whole, 60.0 * settings.minutes)
