"""What is read of the layers before the engine measures; runs in a thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from napari.layers import Layer

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.appearance import names_on
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import labels_now, read_volume, volume_from_layer
from napari_lungseg.widgets.napari_compat import import_pandas
from napari_lungseg.widgets.tasks import Request


@dataclass(frozen=True)
class Chosen:
    """What is measured.

    Attributes
    ----------
    mask : Labels
        The labels.
    image : Image or None
        For the densities.
    time_index : tuple of int
        Index along the time axes of the mask; empty for a layer without.
    image_time_index : tuple of int
        Of the image.
    """

    mask: Layer
    image: Layer | None
    time_index: tuple[int, ...]
    image_time_index: tuple[int, ...]

    def labels(self) -> Volume:
        """The labels as they are now."""
        return replace(labels_now(self.mask, self.time_index), names=names_on(self.mask))

    def values(self) -> Volume | None:
        """The image."""
        return None if self.image is None else read_volume(volume_from_layer(self.image, self.image_time_index))


def measuring(chosen: Chosen) -> Request:
    """Ask the engine to measure a mask."""
    import_pandas()
    return Request("measure", (chosen.labels(), chosen.values()))


def reporting(chosen: Chosen, path: Path) -> Request:
    """Ask the engine to measure a mask and write the page about it."""
    return Request("report", (path.absolute(), chosen.mask.name, chosen.labels(), chosen.values()))


def saving(chosen: Chosen, path: Path) -> Request:
    """Ask the engine to make the surfaces of all labels and write them (InputError where the voxels have no size)."""
    labels = chosen.labels()
    if not labels.spacing_known:
        raise InputError(
            tr("The voxels of '{name}' have no known size, so there is no surface in mm; set the layer's scale.", name=chosen.mask.name)
        )
    return Request("save surfaces", (path.absolute(), labels))
