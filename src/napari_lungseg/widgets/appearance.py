"""How the label layers look: colours, names of labels, the brush they are offered with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap, ensure_colormap

from napari_lungseg.mesh import COLOURS, OTHER_COLOUR
from napari_lungseg.volume import Array

if TYPE_CHECKING:
    import napari.viewer

#: Diameter of the brush, in mm, with which a mask is offered for correction.
BRUSH_MM = 8.0

#: Colour of each label of a mask, as its surface has in 3-D.
LABEL_COLOURS: dict[int | None, str] = dict(COLOURS.items())
LABEL_COLOURS[0], LABEL_COLOURS[None] = "transparent", OTHER_COLOUR


def make_lungs(labels: Array, name: str, geometry: dict[str, Any], *, names: Mapping[int, str]) -> Labels:
    """Make the layer of a mask that can be painted, whose labels have names."""
    layer = Labels(
        labels, name=name, colormap=DirectLabelColormap(color_dict=LABEL_COLOURS), features=label_names(names), opacity=0.5, **geometry
    )
    layer.brush_size = brush_size(layer, BRUSH_MM) if in_mm(layer) else 10
    return layer


def label_names(names: Mapping[int, str]) -> dict[str, list[Any]]:
    """Names of labels as napari takes them for the features of a layer, to be read under the cursor."""
    return {"index": [0, *names], "lung" if set(names.values()) <= {"right", "left", "lungs"} else "class": [None, *names.values()]}


def names_on(layer: Labels) -> dict[int, str] | None:
    """The names that :func:`label_names` gave the labels of a layer; None where it has none."""
    features = layer.features
    kind = next((kind for kind in ("lung", "class") if kind in features and "index" in features), None)
    if kind is None:
        return None
    names = {int(label): name for label, name in zip(features["index"], features[kind]) if isinstance(name, str)}
    return names or None


def add_probability_labels(viewer: napari.viewer.Viewer, percent: Array, name: str, geometry: dict[str, Any]) -> Labels:
    """Add a probability as a label layer of percent; 0 is transparent."""
    ramp = ensure_colormap("magma").map(np.linspace(0, 1, 100))
    # The ramp begins with black: without this, one percent would darken the image as much as ninety-nine brighten it.
    ramp[:, 3] = np.linspace(0.01, 1, 100)
    colours = {0: "transparent", None: "transparent"} | {value + 1: colour for value, colour in enumerate(ramp)}
    features = {"index": np.arange(101), "probability": [f"{value} %" for value in range(101)]}
    layer = viewer.add_labels(
        percent, name=name, colormap=DirectLabelColormap(color_dict=colours), features=features, opacity=0.4, **geometry
    )
    layer.editable = False
    return layer


def add_probability_image(viewer: napari.viewer.Viewer, percent: Array, name: str, geometry: dict[str, Any]) -> Image:
    """Add a probability as an image layer."""
    return viewer.add_image(percent, name=name, colormap="magma", contrast_limits=(0, 100), blending="additive", opacity=0.4, **geometry)


def in_mm(layer: Labels) -> bool:
    """Whether a layer's pixels are measured in mm."""
    return str(layer.units[-1]) in ("mm", "millimeter")


def brush_size(layer: Labels, diameter_mm: float) -> int:
    """Napari's brush size for a diameter in mm; napari itself keeps the brush round where pixels are not square."""
    pixel = float(np.abs(layer.scale[-layer.n_edit_dimensions :]).min())
    return int(np.clip(round(diameter_mm / pixel), 1, 40))
