"""A mask as napari's surface layers: smooth, one for each label, in its colour and the mask's own place."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from napari.layers import Labels, Layer, Surface

from napari_lungseg.errors import InputError
from napari_lungseg.labels import label_name
from napari_lungseg.volume import Affine, Array
from napari_lungseg.widgets.appearance import names_on
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import labels_now, world_from_lps
from napari_lungseg.widgets.tasks import Request

#: Where the light comes from, in LPS: from in front, above, and the side. The turned away side is not black.
_LIGHT = np.array([-0.5, -1.0, 0.6])
_DARKEST = 0.25


@dataclass(frozen=True)
class Shape:
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


def shaping(mask: Layer, time_index: tuple[int, ...]) -> Generator[Affine, None, Request]:
    """Ask the engine for the surfaces of all labels of a mask at a time point; yields the matrix from LPS to the layer's world."""
    labels = labels_now(mask, time_index)
    if 1 in labels.shape or labels.ndim == 2:
        raise InputError(tr("'{name}' is a single slice, which has no surface; choose a mask of a volume.", name=mask.name))
    yield world_from_lps(mask, time_index, labels)
    return Request("surfaces", (labels,))


class Surfaces:
    """Hold the layers that show one mask; the caller puts them into a viewer."""

    def __init__(self) -> None:
        self.layers: list[Surface] = []
        self._mask: Labels | None = None

    def take(self, mask: Labels, shapes: list[Shape]) -> None:
        """Show these shapes of a mask; a label keeps its layer, and with it what the person made of its looks."""
        before = {layer.metadata["label"]: layer for layer in self.layers} if mask == self._mask else {}
        self._mask, self.layers = mask, [_layer(mask, shape, before.get(shape.label)) for shape in shapes]


def _layer(mask: Labels, shape: Shape, before: Surface | None) -> Surface:
    data = shape.vertices, shape.faces
    colours = np.tile(mask.get_color(shape.label), (len(shape.vertices), 1))
    colours[:, :3] *= shape.light[:, None]
    if before is not None:
        # napari draws new vertices at once, and not in as many colours as there were before.
        before.vertex_colors = None
        before.data = data
        before.vertex_colors = colours
        return before
    return Surface(
        data,
        name=tr("{mask} surface {label}", mask=mask.name, label=tr(label_name(shape.label, names_on(mask)))),
        vertex_colors=colours,
        # napari's own light (0.9) comes from behind where the camera's depth is turned over, as it must be for LPS.
        shading="none",
        opacity=1.0,
        units=mask.units[-3:],
        axis_labels=mask.axis_labels[-3:],
        metadata={"label": shape.label},
    )


def make_shape(label: int, vertices: Array, faces: Array, normals: Array, world: Affine) -> Shape:
    """A surface of the engine, in LPS mm, as one in the world of its mask's layer."""
    lit = (1.0 + normals @ (_LIGHT / np.linalg.norm(_LIGHT))) / 2.0
    return Shape(
        label,
        vertices=vertices @ world[:3, :3].T + world[:3, 3],
        faces=faces[:, ::-1] if np.linalg.det(world[:3, :3]) < 0 else faces,
        light=_DARKEST + (1.0 - _DARKEST) * lit**2,
    )
