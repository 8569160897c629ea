"""One volume of a mask, as the journal sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from napari.layers import Labels, Layer

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.preprocess import guess_unit
from napari_lungseg.steps import Box
from napari_lungseg.volume import Array, Unit, Volume
from napari_lungseg.widgets.layers import UNIT, volume_from_layer
from napari_lungseg.widgets.lookup import is_image
from napari_lungseg.widgets.mask_layer import MaskLayer, TimeIndex
from napari_lungseg.widgets.view import voxel_shape
from napari_lungseg.workspace import Case, Workspace, content_hash


@dataclass(eq=False)
class Track:
    """One volume of a mask, as the journal sees it.

    Attributes
    ----------
    result : MaskLayer
        Whose mask it is.
    document : MaskDocument
        All that is known of it.
    layer : Layer
        The image by which the mask is found again; the mask itself where it lies on no image.
    volume : Volume
        What that layer held when the track began, also if it holds something else by now.
    unit : {"HU", "arbitrary"} or None
        What its numbers mean, once it has been read.
    content : str or None
        Hash of the volume, once it has been read.
    case : Case or None
        Under what it is saved, once that is known.
    """

    result: MaskLayer
    document: MaskDocument
    layer: Layer
    volume: Volume
    unit: Unit | None = None
    content: str | None = None
    case: Case | None = None
    _frozen: tuple[Array, Array] | None = None

    @classmethod
    def of(cls, result: MaskLayer, time_index: TimeIndex) -> Track:
        """Make the track of a result's present mask."""
        assert result.lungs is not None
        layer = result.image if voxel_shape(result.image) == result.shape else result.lungs
        # The unit does not matter here; telling it from the numbers would read them.
        volume = volume_from_layer(layer, time_index, "arbitrary")
        document = result.document(time_index)
        document.axis = volume.axial_axis
        return cls(result, document, layer, volume)

    @property
    def name(self) -> str:
        """What the volume is called."""
        return self.layer.name + "".join(f" t{index}" for index in self.time_index)

    @property
    def time_index(self) -> TimeIndex:
        """Which time point it is."""
        return self.document.time_index

    @property
    def lungs(self) -> Labels | None:
        """The layer that shows it."""
        return self.result.lungs

    @property
    def has_image(self) -> bool:
        """Whether the mask can be found again, by its image."""
        return is_image(self.layer)

    @property
    def slices(self) -> int:
        """How many slices there are."""
        return self.document.slices

    @property
    def axis(self) -> int:
        """Array axis of the volume along which slices are counted."""
        return self.document.axis

    def touched(self, box: Box) -> range:
        """The slices that a box in the layer's axes reaches."""
        leading = len(self.time_index)
        if any(not part.start <= index < part.stop for part, index in zip(box, self.time_index)):
            return range(0)
        return self.document.slices_in(box[leading:])

    def box(self, index: int) -> Box:
        """A slice in the layer's axes."""
        return (*(slice(at, at + 1) for at in self.time_index), *self.document.box(index))

    def freeze(self) -> None:
        """Keep the mask as it is now: what is painted later belongs to another image."""
        self._frozen = self.document.labels.copy(), self.document.corrections.origin.copy()

    def planes(self, index: int) -> tuple[Array, Array]:
        """Copies of labels and origin of one slice."""
        labels, origin = self._frozen or (self.document.labels, self.document.corrections.origin)
        return self._plane(labels, index), self._plane(origin, index)

    def percent(self, index: int) -> Array | None:
        """A copy of the probability of one slice, if there is one."""
        return self._plane(self.document.percent, index) if self.document.predicted else None

    def _plane(self, volume: Array, index: int) -> Array:
        return np.array(volume if volume.ndim == 2 else volume.take(index, self.axis))

    def belong(self, case: Case) -> None:
        """Take the track for that case, whose slices may be counted along another axis, as the geometry was another one then."""
        self.case, self.content, self.document.axis, self.unit = case, case.image, case.axis, case.unit

    def read_content(self, check: Callable[[], None]) -> None:
        """Read the volume, to know it by its content.

        Parameters
        ----------
        check : callable
            Called now and then; what it raises ends the reading.
        """
        self.unit = self.layer.metadata.get(UNIT) or guess_unit(self.volume.array)
        self.content = content_hash(self.volume.array, check)

    def add_to(self, workspace: Workspace, key: str) -> Case:
        """Make the volume known to a workspace under a key."""
        assert self.unit is not None
        path = self.layer.source.path
        return workspace.add_case(
            key,
            name=self.name,
            path=Path(path) if path else None,
            shape=self.volume.shape,
            affine=volume_from_layer(self.layer, self.time_index, "arbitrary").affine,
            axis=self.axis,
            unit=self.unit,
            dtype=self.volume.array.dtype,
        )
