"""A chest of simple shapes, and a small network that finds its lungs."""

from functools import cache

import numpy as np
import torch

from napari_lungseg.card import Card
from napari_lungseg.model import Model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.unet import UNet, UNetConfig
from napari_lungseg.volume import Volume, scaling

SPACING = (6.0, 4.0, 4.0)
PREPROCESSING = Preprocessing(spacing_mm=SPACING[1], window_hu=(-1000.0, 400.0))
#: HU from which on :func:`two_class_model` calls a pixel its second class.
DENSE = 210


def chest(slices: int = 9, rows: int = 72, columns: int = 96, seed: int = 0) -> tuple[Volume, np.ndarray]:
    """An upright CT in HU, and where its lungs are.

    Right and left, front and back, head and feet all differ, so that a result that is flipped or transposed cannot pass.
    """
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[-1 : 1 : slices * 1j, -1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = (x / 0.8) ** 2 + (y / 0.75) ** 2 < 1
    size = 1.0 - 0.35 * (z + 1) / 2  # smaller towards the head
    right = ((x + 0.36) / (0.30 * size)) ** 2 + ((y + 0.05) / (0.52 * size)) ** 2 < 1
    left = ((x - 0.38) / (0.22 * size)) ** 2 + ((y - 0.10) / (0.40 * size)) ** 2 < 1
    lungs = right | left
    hu = np.where(body, 40.0, -1000.0)
    hu[lungs] = -850.0
    hu[(x**2 + (y - 0.5) ** 2) < 0.01] = 700.0
    hu += rng.normal(0, 5, hu.shape)
    origin = (-columns / 2 * SPACING[2], -rows / 2 * SPACING[1], -700.0)
    return Volume(hu.round().astype(np.int16), scaling(SPACING, origin), "HU"), lungs


@cache
def chest_model() -> Model:
    """A U-Net whose weights are set by hand so that it finds exactly the lungs of :func:`chest`.

    All it looks at is each pixel's own density, through the first skip: above that of air, below that of tissue.
    """
    config = UNetConfig(base_width=2, depth=2, norm="batch")
    network = _density_network(config, [-1.0, -1.0], [-0.3, -0.88])
    with torch.no_grad():
        network.head.weight[0, :, 0, 0] = torch.tensor([20.0, -200.0])
        network.head.bias[:] = -5.0
    return Model(network, Card("chest", "Lungs of the test phantom.", config, PREPROCESSING))


@cache
def two_class_model(classes: tuple[str, str] = ("lung", "bone"), labels: tuple[int, int] = (1, 3), *, sides: bool = True) -> Model:
    """As :func:`chest_model`, with a second class: all above :data:`DENSE` HU."""
    config = UNetConfig(base_width=3, depth=2, norm="batch", classes=2)
    network = _density_network(config, [-1.0, -1.0, 1.0], [-0.3, -0.88, -0.6])
    with torch.no_grad():
        network.head.weight[:, :, 0, 0] = torch.tensor([[0.0, 0.0, 0.0], [20.0, -200.0, 0.0], [0.0, 0.0, 40.0]])
        network.head.bias[:] = torch.tensor([0.0, -5.0, -5.0])
    return Model(network, Card("two", "Lungs and bone of the test phantom.", config, PREPROCESSING, classes, labels, sides))


def _density_network(config: UNetConfig, weights: list[float], biases: list[float]) -> UNet:
    """A U-Net whose head is given ``relu(weight * density + bias)`` of each pixel, one channel for each weight."""
    network = UNet(config).eval()
    first, last = network.down[0], network.up[-1].block
    channels = list(range(len(weights)))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
                module.weight.zero_()
        first[0].weight[:, 0, 1, 1] = torch.tensor(weights)
        first[0].bias[:] = torch.tensor(biases)
        for convolution in (first[3], last[0], last[3]):
            convolution.weight[channels, channels, 1, 1] = 1.0
    return network


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks."""
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))
