"""What runs off the GUI thread: reading the layers, measuring, making surfaces, and writing files. No layer is changed here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from napari.layers import Layer

from napari_lungseg.errors import InputError
from napari_lungseg.measurement import Measurements, measure, write_report
from napari_lungseg.mesh import surfaces, write_surfaces
from napari_lungseg.volume import Affine, Volume
from napari_lungseg.widgets.layers import volume_from_layer, world_from_lps
from napari_lungseg.widgets.worker import Failed, sentence

if TYPE_CHECKING:
    from trimesh import Trimesh


#: Where the light comes from, in LPS: from in front, above, and the side. The turned away side is not black.
_LIGHT = np.array([-0.5, -1.0, 0.6])
_DARKEST = 0.25


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
        """The labels as they are now, so that no stroke comes in between."""
        volume = volume_from_layer(self.mask, self.step, "arbitrary")
        return replace(volume, array=np.array(volume.array))

    def values(self) -> Volume | None:
        """The image."""
        return None if self.image is None else volume_from_layer(self.image, self.image_step)


@dataclass(frozen=True)
class Shown:
    """A surface in the world of its mask's layer.

    Attributes
    ----------
    label : int
        Whose.
    vertices : (vertices, 3) array
        (z, y, x) in the layer's units.
    faces : (faces, 3) array of int
        Indices of vertices, in the order that has the outside where (z, y, x) are taken for a right-handed system.
    light : (vertices,) array of float
        How brightly each vertex is lit, 0 to 1.
    """

    label: int
    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int64]
    light: npt.NDArray[np.float64]


def measuring(chosen: Chosen) -> Measurements | Failed:
    """Measure a mask."""
    try:
        # The layer's features need it, and would halt the window for a second to import it.
        import_module("pandas")
        return measure(chosen.labels(), chosen.values())
    except Exception as error:
        return Failed(sentence(error, "measurement"))


def reporting(chosen: Chosen, path: Path) -> Measurements | Failed:
    """Measure a mask and write the page about it."""
    try:
        labels, values = chosen.labels(), chosen.values()
        measured = measure(labels, values)
        write_report(path, chosen.mask.name, measured, labels, values)
        return measured
    except Exception as error:
        return Failed(sentence(error, "report"))


def shaping(chosen: Chosen) -> list[Shown] | Failed:
    """Make the surfaces of all labels, where the mask is shown."""
    try:
        labels = chosen.labels()
        if 1 in labels.shape or labels.ndim == 2:
            raise InputError(f"'{chosen.mask.name}' is a single slice, which has no surface; choose a mask of a volume.")
        world = world_from_lps(chosen.mask, chosen.step, labels)
        return [_shown(label, mesh, world) for label, mesh in surfaces(labels).items()]
    except Exception as error:
        return Failed(sentence(error, "surface"))


def saving(chosen: Chosen, path: Path) -> Path | Failed:
    """Make the surfaces of all labels and write them in LPS mm."""
    try:
        labels = chosen.labels()
        if not labels.spacing_known:
            raise InputError(f"The voxels of '{chosen.mask.name}' have no known size, so there is no surface in mm; set the layer's scale.")
        return write_surfaces(surfaces(labels), path)
    except Exception as error:
        return Failed(sentence(error, "surface"))


def _shown(label: int, mesh: Trimesh, world: Affine) -> Shown:
    faces = np.asarray(mesh.faces)
    lit = (1.0 + np.asarray(mesh.vertex_normals) @ (_LIGHT / np.linalg.norm(_LIGHT))) / 2.0
    return Shown(
        label,
        vertices=mesh.vertices @ world[:3, :3].T + world[:3, 3],
        faces=faces[:, ::-1] if np.linalg.det(world[:3, :3]) < 0 else faces,
        light=_DARKEST + (1.0 - _DARKEST) * lit**2,
    )
