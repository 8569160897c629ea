"""The label layers made from one image, and the record of what the plugin wrote into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap, ensure_colormap
from skimage.segmentation import expand_labels

from napari_lungseg.mask import apply_threshold
from napari_lungseg.volume import Array, Volume
from napari_lungseg.widgets.edits import merge
from napari_lungseg.widgets.layers import layer_geometry
from napari_lungseg.widgets.remask import Remasker

if TYPE_CHECKING:
    import napari.viewer

#: Key of the image layer's metadata under which its results are found again, by any of the plugin's widgets.
KEY = "napari-lungseg result"
#: Diameter of the brush, in mm, with which the mask is offered for correction.
BRUSH_MM = 8.0
#: How far, in pixels, sides are carried over to voxels that a lower threshold adds, until the whole mask is made anew.
NEIGHBOUR = 60

RIGHT_AND_LEFT = {0: "transparent", 1: "#3ddc97", 2: "#4aa8ff", None: "#ff5fa2"}
NAMES = {"index": [0, 1, 2], "lung": [None, "right", "left"]}


@dataclass(eq=False)
class Frame:
    """One volume of an image layer: all of it, or one time step.

    Attributes
    ----------
    step : tuple of int
        Index along the layer's leading (time) axes; empty where it has none.
    probability : Volume
        Percent; its array is part of the probability layer's own.
    written : array of uint8
        What the plugin wrote last into the lungs layer.
    predicted : bool
        Whether any slice has been predicted.
    """

    step: tuple[int, ...]
    probability: Volume
    written: Array
    predicted: bool = False


class Result:
    """What was made from one image layer.

    All methods run on the GUI thread; none does more than copy slices.

    Parameters
    ----------
    image : Image
        The layer that is segmented.
    shape : tuple of int
        Shape of its voxels, time axes included, colours not.
    """

    def __init__(self, image: Layer, shape: tuple[int, ...]) -> None:
        self.image = image
        self.shape = shape
        self.lungs: Labels | None = None
        self.probability: Layer | None = None
        self._percent = np.zeros(shape, np.uint8)
        self._written = np.zeros(shape, np.uint8)
        self.remasker = Remasker(self)
        self._frames: dict[tuple[int, ...], Frame] = {}

    def frame(self, step: tuple[int, ...], volume: Volume) -> Frame:
        """The part of the result that belongs to one volume of the image, with the geometry that this has now."""
        probability = Volume(self._percent[step], volume.affine, spacing_known=volume.spacing_known)
        frame = self._frames.setdefault(step, Frame(step, probability, self._written[step]))
        frame.probability = probability
        return frame

    def find_frame(self, step: tuple[int, ...]) -> Frame | None:
        """As :meth:`frame`, but only if some of it has been predicted."""
        frame = self._frames.get(step)
        return frame if frame is not None and frame.predicted else None

    def current(self, frame: Frame) -> Array:
        """Labels of a frame as they are now."""
        assert self.lungs is not None
        return self.lungs.data[frame.step]

    def complete(self, viewer: napari.viewer.Viewer) -> bool:
        """Whether the image and both result layers are still in the viewer, with voxels of the right shape."""
        return self.image in viewer.layers and self._has_lungs(viewer) and self.probability in viewer.layers

    def show(self, viewer: napari.viewer.Viewer, *, as_image: bool) -> None:
        """Add the layers that are not there (any more), above the image, and put all in its own place."""
        geometry = layer_geometry(self.image)
        name = f"{self.image.name} probability"
        before: Layer | None = self.probability
        probability: Any = before
        if before not in viewer.layers or isinstance(before, Image) is not as_image:
            add = _add_probability_image if as_image else _add_probability_labels
            probability = self.probability = add(viewer, self._percent, name, geometry)
            probability.metadata[KEY] = "probability"
        if not self._has_lungs(viewer):
            self._written[...] = 0
            self.lungs = viewer.add_labels(
                np.zeros(self.shape, np.uint8),
                name=f"{self.image.name} lungs",
                colormap=DirectLabelColormap(color_dict=RIGHT_AND_LEFT),
                features=NAMES,
                opacity=0.5,
                **geometry,
            )
            self.lungs.brush_size = _brush_pixels(self.lungs)
        if before is not probability and before in viewer.layers:
            # Only now, as whoever hears of it looks whether the layers are there.
            viewer.layers.remove(before)
            probability.name = name
        for layer in (probability, self.lungs):
            _place(layer, geometry)
        here, above = viewer.layers.index(probability), viewer.layers.index(self.lungs)
        if here > above:
            viewer.layers.move(here, above)
        viewer.layers.selection.active = self.lungs

    def set_aside(self, viewer: napari.viewer.Viewer, frame: Frame, edited: Array) -> None:
        """Put a copy of the edited labels in a hidden layer of its own, and take the labels as written by the plugin."""
        assert self.lungs is not None
        copy = np.zeros(self.shape, np.uint8)
        copy[frame.step] = edited
        viewer.add_labels(
            copy, name=f"{self.lungs.name} (my changes)", colormap=self.lungs.colormap, visible=False, **layer_geometry(self.image)
        )
        frame.written[...] = edited

    def put_probability(self, frame: Frame, where: tuple[Any, ...], percent: Array, threshold: float) -> None:
        """Write a predicted slice and its plain threshold."""
        frame.probability.array[where] = percent
        frame.predicted = True
        self.put_labels(frame, where, apply_threshold(percent, threshold).view(np.uint8))

    def put_labels(self, frame: Frame, where: tuple[Any, ...], labels: Array) -> None:
        """Write part of a mask, around a person's voxels."""
        merge(self.current(frame)[where], frame.written[where], labels)

    def preview(self, frame: Frame, where: tuple[Any, ...], threshold: float, sides: Array) -> None:
        """Show the plain threshold on one slice; each voxel is on the side of its nearest neighbour in ``sides``."""
        lung = apply_threshold(frame.probability.array[where], threshold)
        nearest = expand_labels(sides, NEIGHBOUR)
        self.put_labels(frame, where, np.where(lung, np.maximum(nearest, 1), 0).astype(np.uint8))

    def refresh(self) -> None:
        """Show what was written."""
        for layer in (self.probability, self.lungs):
            if layer is not None:
                layer.refresh(extent=False)

    def settle(self) -> None:
        """End an update of the mask: show it, and forget strokes whose undoing would bring back parts of the mask before.

        Turning editing off is napari's public way to clear the history of a layer.
        """
        if self.lungs is None:
            return
        mode = self.lungs.mode
        self.lungs.editable = False
        self.lungs.editable = True
        self.lungs.mode = mode
        self.refresh()

    def offer_painting(self, viewer: napari.viewer.Viewer) -> None:
        """Select the mask with the brush in hand."""
        if self.lungs is None:
            return
        viewer.layers.selection.active = self.lungs
        if viewer.dims.ndisplay == 2:
            self.lungs.selected_label = 1
            self.lungs.mode = "paint"

    def _has_lungs(self, viewer: napari.viewer.Viewer) -> bool:
        return (
            self.lungs is not None
            and self.lungs in viewer.layers
            and isinstance(self.lungs.data, np.ndarray)
            and self.lungs.data.shape == self.shape
        )


def result_of(image: Layer) -> Result | None:
    """The result of an image layer, if there is one."""
    result = image.metadata.get(KEY)
    # A duplicated layer shares the metadata of its model.
    return result if isinstance(result, Result) and result.image == image else None


def result_for(image: Layer, shape: tuple[int, ...]) -> Result:
    """The result of an image layer, begun anew if there is none or the image has changed its shape."""
    result = result_of(image)
    if result is None or result.shape != shape:
        result = Result(image, shape)
        image.metadata[KEY] = result
    return result


def is_image(layer: Layer) -> bool:
    """Whether a layer can be segmented: an image, and not one of this plugin's results."""
    return isinstance(layer, Image) and layer.metadata.get(KEY) != "probability"


def _place(layer: Any, geometry: dict[str, Any]) -> None:
    """Move a layer to where the image is by now."""
    for name, value in geometry.items():
        if name == "metadata":
            layer.metadata.update(value)
        else:
            setattr(layer, name, value)


def _add_probability_labels(viewer: napari.viewer.Viewer, percent: Array, name: str, geometry: dict[str, Any]) -> Labels:
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


def _add_probability_image(viewer: napari.viewer.Viewer, percent: Array, name: str, geometry: dict[str, Any]) -> Image:
    return viewer.add_image(percent, name=name, colormap="magma", contrast_limits=(0, 100), blending="additive", opacity=0.4, **geometry)


def _brush_pixels(labels: Labels) -> int:
    pixel = float(np.abs(labels.scale[-2:]).min())
    known = str(labels.units[-1]) in ("mm", "millimeter")
    return int(np.clip(round(BRUSH_MM / pixel), 3, 40)) if known else 10
