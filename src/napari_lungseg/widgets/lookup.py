"""Which layer is what: images, masks, and the results that belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_lungseg.errors import InputError
from napari_lungseg.widgets.results import KEY, Result, owner_of
from napari_lungseg.widgets.view import voxel_shape

if TYPE_CHECKING:
    import napari.viewer


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


def result_with(viewer: napari.viewer.Viewer, lungs: Labels) -> Result:
    """The result whose mask a label layer is; where it is none's yet, that of the topmost image on the same voxels.

    What such a layer holds then counts as the model's mask, so that the person's changes are told from it.
    """
    known = result_holding(viewer, lungs)
    if known is not None:
        return known
    if not isinstance(lungs.data, np.ndarray):
        raise InputError(f"The labels of '{lungs.name}' lie outside of memory and cannot be corrected; duplicate the layer first.")
    fitting = [layer for layer in viewer.layers if is_image(layer) and voxel_shape(layer) == lungs.data.shape]
    free = [layer for layer in fitting if (other := result_of(layer)) is None or not other.has_lungs(viewer)]
    image = free[-1] if free else lungs
    result = Result(image, lungs.data.shape)
    image.metadata[KEY] = result
    result.adopt(lungs)
    return result


def result_holding(viewer: napari.viewer.Viewer, lungs: Layer) -> Result | None:
    """The result whose mask a layer is, if there is one."""
    result = owner_of(lungs)
    return result if result is not None and result.has_lungs(viewer) else None


def results_in(viewer: napari.viewer.Viewer) -> list[Result]:
    """The results whose masks are in a viewer, in the order of the masks."""
    results = (result_holding(viewer, layer) for layer in viewer.layers)
    return [result for result in results if result is not None]


def image_of(viewer: napari.viewer.Viewer, mask: Layer) -> Layer | None:
    """The image that a mask belongs to: that of its result, else the topmost on the same voxels."""
    result = result_holding(viewer, mask)
    if result is not None and is_image(result.image) and result.image in viewer.layers:
        return result.image
    fitting = [layer for layer in viewer.layers if is_image(layer) and voxel_shape(layer) == voxel_shape(mask)]
    return fitting[-1] if fitting else None


def is_mask(layer: Layer) -> bool:
    """Whether a layer's labels can be corrected: not those that only show a probability, what was changed, or errors."""
    return isinstance(layer, Labels) and layer.metadata.get(KEY) not in ("probability", "changes", "errors")


def is_image(layer: Layer) -> bool:
    """Whether a layer can be segmented: an image, and not one of this plugin's results."""
    return isinstance(layer, Image) and layer.metadata.get(KEY) != "probability"


def viewer_key(viewer: Any) -> int:
    """By what a viewer is known: plugins get a proxy of it, and each its own."""
    return id(getattr(viewer, "__wrapped__", viewer))
