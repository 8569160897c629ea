"""How a network does on whole slices, seen as prediction sees them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.predict import network_plane, resize
from napari_lungseg.preprocess import Preprocessing, normalise
from napari_lungseg.training.losses import LOSSES
from napari_lungseg.training.samples import IGNORE, LabelledSlice
from napari_lungseg.training.updates import Picture, Scores
from napari_lungseg.unet import UNet, probabilities

#: Probability from which on a pixel belongs to a class, as where masks are made.
THRESHOLD = 0.5


class Tally:
    """Areas that are right, too much and missing, by class.

    Parameters
    ----------
    names : sequence of str
        Name of each class.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._hit, self._found, self._wanted = (np.zeros(len(names)) for _ in range(3))
        self._loss, self._count = 0.0, 0

    def add(self, found: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], loss: float, pixel_mm2: float = 1.0) -> None:
        """Count one slice or batch: what was found (0 .. n) against the label, where that was judged."""
        judged = label != IGNORE
        for index in range(len(self._names)):
            one, other = (found == index + 1) & judged, label == index + 1
            for total, mask in ((self._hit, one & other), (self._found, one), (self._wanted, other)):
                total[index] += np.count_nonzero(mask) * pixel_mm2
        self._loss += loss
        self._count += 1

    @property
    def scores(self) -> Scores:
        """Agreement so far."""
        hit, found, wanted = self._hit, self._found, self._wanted
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = {
                "dice": 2 * hit / (found + wanted),
                "iou": hit / (found + wanted - hit),
                "precision": hit / found,
                "recall": hit / wanted,
            }
        named = {name: dict(zip(self._names, (float(v) for v in values), strict=True)) for name, values in parts.items()}
        return Scores(loss=self._loss / max(1, self._count), **named)


@dataclass(frozen=True)
class Judge:
    """Scores networks by the classes of a model.

    Attributes
    ----------
    preprocessing : Preprocessing
        Of the model.
    names : tuple of str
        Its classes.
    loss : str
        What training minimises.
    """

    preprocessing: Preprocessing
    names: tuple[str, ...]
    loss: str = "bce-dice"

    def find(self, network: UNet, item: LabelledSlice) -> tuple[npt.NDArray[np.uint8], Tensor]:
        """What a network finds on a slice, and its logits, both on the slice's own pixels.

        Returns
        -------
        found : (H, W) array of uint8
            0 background, 1 .. n the classes.
        logits : (1, C, H, W) tensor
            On the CPU.
        """
        box = (slice(0, item.image.shape[0]), slice(0, item.image.shape[1]))
        grid = self.preprocessing.grid(box, item.spacing_mm)
        values = torch.from_numpy(normalise(item.image, *item.intensity_range))
        seen = network_plane(values, grid, network.config)
        with torch.inference_mode():
            device = next(network.parameters()).device
            logits = network(seen[None, None].to(device)).float().cpu()[..., : grid[0], : grid[1]]
            likely = resize(probabilities(logits)[0], item.image.shape)
            logits = F.interpolate(logits, size=item.image.shape, mode="bilinear", align_corners=False)
        best = likely.argmax(dim=0).to(torch.uint8) + 1
        best[likely.sum(dim=0) < THRESHOLD] = 0
        return best.numpy(), logits

    def score(self, network: UNet, slices: Sequence[LabelledSlice], *, only: int | None = None) -> Generator[LabelledSlice, None, Scores]:
        """Score a network on slices; yields each slice when it is done, so that whoever waits can go.

        Parameters
        ----------
        network : UNet
            In evaluation mode.
        slices : sequence of LabelledSlice
            Judged slices.
        only : int, optional
            Just the first so many classes, where the labels know no others.
        """
        count = len(self.names) if only is None else only
        tally = Tally(self.names[:count])
        for item in slices:
            found, logits = self.find(network, item)
            found[found > count] = 0
            label = torch.from_numpy(np.array(item.label))[None]
            loss = float(LOSSES[self.loss](logits, label)) if only is None else 0.0
            tally.add(found, item.label, loss, item.pixel_mm2)
            yield item
        return tally.scores

    def picture(self, network: UNet, item: LabelledSlice, title: str = "") -> Picture:
        """A slice with its label and what the network finds."""
        found, _ = self.find(network, item)
        tally = Tally(self.names)
        tally.add(found, item.label, 0.0)
        greys = ((normalise(item.image, *item.intensity_range) + 1.0) * 127.5).round().astype(np.uint8)
        return Picture(title or f"{item.case} slice {item.index}", greys, np.array(item.label), found, tally.scores.mean_dice)


def spread(slices: Sequence[LabelledSlice], most: int) -> list[LabelledSlice]:
    """At most so many slices, evenly spread over those given."""
    if len(slices) <= most:
        return list(slices)
    return [slices[int(index)] for index in np.linspace(0, len(slices) - 1, most).round()]
