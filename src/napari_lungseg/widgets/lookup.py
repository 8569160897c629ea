"""Which layer is what: images, masks, and the results that belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels, Layer

from napari_lungseg.widgets.documents import all_documents, documents_of, mask_with
from napari_lungseg.widgets.layers import ROLE, is_image
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.view import voxel_shape

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["image_of", "is_image", "is_mask", "result_for", "result_holding", "result_of", "result_with", "results_in"]

result_with = mask_with


def result_of(image: Layer) -> MaskLayer | None:
    """The mask of an image layer, if there is one."""
    return next((mask for documents in all_documents() if (mask := documents.of_image(image)) is not None), None)


def result_for(viewer: napari.viewer.Viewer, image: Layer, shape: tuple[int, ...]) -> MaskLayer:
    """The mask of an image layer, begun anew if there is none or the image has changed its shape."""
    mask = result_of(image)
    if mask is None or mask.shape != shape:
        mask = MaskLayer(image, shape)
        documents_of(viewer).put(mask)
    return mask


def result_holding(viewer: napari.viewer.Viewer, lungs: Layer) -> MaskLayer | None:
    """The mask that a layer shows, if there is one."""
    mask = documents_of(viewer).of_labels(lungs)
    return mask if mask is not None and mask.has_lungs(viewer) else None


def results_in(viewer: napari.viewer.Viewer) -> list[MaskLayer]:
    """The masks that are shown in a viewer, in the order of their layers."""
    masks = (result_holding(viewer, layer) for layer in viewer.layers)
    return [mask for mask in masks if mask is not None]


def image_of(viewer: napari.viewer.Viewer, mask: Layer) -> Layer | None:
    """The image that a mask belongs to: the one it was made from, else the topmost on the same voxels."""
    result = result_holding(viewer, mask)
    if result is not None and is_image(result.image) and result.image in viewer.layers:
        return result.image
    fitting = [layer for layer in viewer.layers if is_image(layer) and voxel_shape(layer) == voxel_shape(mask)]
    return fitting[-1] if fitting else None


def is_mask(layer: Layer) -> bool:
    """Whether a layer's labels can be corrected: not those that only show a probability, what was changed, or errors."""
    return isinstance(layer, Labels) and ROLE not in layer.metadata
