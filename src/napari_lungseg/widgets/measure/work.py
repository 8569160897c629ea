"""What runs off the GUI thread: reading the layers, measuring, and writing files. No layer is changed here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from napari.layers import Layer

from napari_lungseg.errors import InputError
from napari_lungseg.measurement import Measurements, measure, write_report
from napari_lungseg.mesh import surfaces, write_surfaces
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.appearance import names_on
from napari_lungseg.widgets.layers import labels_now, volume_from_layer
from napari_lungseg.widgets.worker import Failed, sentence


@dataclass(frozen=True)
class Chosen:
    """What is measured.

    Attributes
    ----------
    mask : Labels
        The labels.
    image : Image or None
        For the densities.
    step : tuple of int
        Index along the time axes of the mask; empty for a layer without.
    image_step : tuple of int
        Of the image.
    """

    mask: Layer
    image: Layer | None
    step: tuple[int, ...]
    image_step: tuple[int, ...]

    def labels(self) -> Volume:
        """The labels as they are now."""
        return replace(labels_now(self.mask, self.step), names=names_on(self.mask))

    def values(self) -> Volume | None:
        """The image."""
        return None if self.image is None else volume_from_layer(self.image, self.image_step)


def measuring(chosen: Chosen) -> Measurements | Failed:
    """Measure a mask."""
    try:
        # The layer's features need it, and would halt the window for a second to import it.
        import_module("pandas")
        return measure(chosen.labels(), chosen.values())
    except Exception as error:
        return Failed(sentence(error, "The measurement"))


def reporting(chosen: Chosen, path: Path) -> Measurements | Failed:
    """Measure a mask and write the page about it."""
    try:
        labels, values = chosen.labels(), chosen.values()
        measured = measure(labels, values)
        write_report(path, chosen.mask.name, measured, labels, values)
        return measured
    except Exception as error:
        return Failed(sentence(error, "Writing the report"))


def saving(chosen: Chosen, path: Path) -> Path | Failed:
    """Make the surfaces of all labels and write them in LPS mm."""
    try:
        labels = chosen.labels()
        if not labels.spacing_known:
            raise InputError(f"The voxels of '{chosen.mask.name}' have no known size, so there is no surface in mm; set the layer's scale.")
        return write_surfaces(surfaces(labels), path, labels.names)
    except Exception as error:
        return Failed(sentence(error, "Writing the surface"))
