"""Which image of a viewer has which mask, and so which documents."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels, Layer
from psygnal import Signal

from napari_lungseg.errors import InputError
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.layers import is_image
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.napari_compat import unwrapped
from napari_lungseg.widgets.view import voxel_shape

if TYPE_CHECKING:
    import napari.viewer


class Documents:
    """The masks of one viewer; each has a document for every time point of its image.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Which.
    """

    #: A mask has a layer now, or another one, or other labels than a person made.
    begun = Signal(MaskLayer)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.masks: list[MaskLayer] = []
        self._layers = viewer.layers
        self._layers.events.removed.connect(self._removed)

    def of_image(self, image: Layer) -> MaskLayer | None:
        """The mask of an image layer, if there is one."""
        return next((mask for mask in self.masks if mask.image == image), None)

    def of_labels(self, lungs: Layer) -> MaskLayer | None:
        """The mask that a label layer shows, if there is one."""
        return next((mask for mask in self.masks if mask.lungs is not None and mask.lungs == lungs), None)

    def put(self, mask: MaskLayer) -> None:
        """Take the mask of an image that has none, or in place of the one that it has."""
        self.masks = [other for other in self.masks if other.image != mask.image and other is not mask]
        self.masks.append(mask)
        mask.begun.connect(partial(self.begun.emit, mask))

    def give_image(self, mask: MaskLayer, image: Layer) -> None:
        """Give a mask whose image was removed another layer of the same image."""
        mask.image = image
        self.begun.emit(mask)

    def _removed(self, _: Any = None) -> None:
        """Keep nothing of an image that was put away with its mask."""
        self.masks = [mask for mask in self.masks if mask.image in self._layers or mask.lungs in self._layers]


_viewers: WeakKeyDictionary[Any, Documents] = WeakKeyDictionary()


def documents_of(viewer: napari.viewer.Viewer) -> Documents:
    """The masks of a viewer."""
    viewer = unwrapped(viewer)
    if viewer not in _viewers:
        _viewers[viewer] = Documents(viewer)
    return _viewers[viewer]


def all_documents() -> Iterator[Documents]:
    """The masks of each viewer of this process."""
    yield from list(_viewers.values())


def mask_with(viewer: napari.viewer.Viewer, lungs: Labels) -> MaskLayer:
    """The mask that a label layer shows; where it is none's yet, that of the topmost image on the same voxels.

    What such a layer holds then counts as the model's mask, so that the person's changes are told from it.
    """
    documents = documents_of(viewer)
    known = documents.of_labels(lungs)
    if known is not None and known.has_lungs(viewer):
        return known
    if not isinstance(lungs.data, np.ndarray):
        raise InputError(
            tr("The labels of '{name}' lie outside of memory and cannot be corrected; duplicate the layer first.", name=lungs.name)
        )
    if known is not None:
        known.let_go()
    fitting = [layer for layer in viewer.layers if is_image(layer) and voxel_shape(layer) == lungs.data.shape]
    free = [layer for layer in fitting if (other := documents.of_image(layer)) is None or not other.has_lungs(viewer)]
    mask = MaskLayer(free[-1] if free else lungs, lungs.data.shape)
    documents.put(mask)
    mask.adopt(lungs)
    return mask
