"""Where a document is saved: under its image, which is known by its voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from napari.layers import Layer

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.preprocess import guess_unit
from napari_lungseg.volume import Unit, Volume
from napari_lungseg.widgets.layers import UNIT, volume_from_layer
from napari_lungseg.widgets.lookup import is_image
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.view import voxel_shape
from napari_lungseg.workspace import Case, Workspace, content_hash


@dataclass(eq=False)
class SaveTarget:
    """Where a document is saved.

    Attributes
    ----------
    document : MaskDocument
        Whose slices are saved.
    layer : Layer
        The image by which the mask is found again; the mask itself where it lies on no image.
    volume : Volume
        What that layer held when saving began, also if it holds something else by now.
    unit : {"HU", "arbitrary"} or None
        What its numbers mean, once it has been read.
    content : str or None
        Hash of the volume, once it has been read.
    case : Case or None
        Under what it is saved, once that is known.
    """

    document: MaskDocument
    layer: Layer
    volume: Volume
    unit: Unit | None = None
    content: str | None = None
    case: Case | None = None

    @classmethod
    def of(cls, result: MaskLayer, document: MaskDocument) -> SaveTarget:
        """Make the target of a document of a mask that is shown."""
        assert result.lungs is not None
        layer = result.image if voxel_shape(result.image) == result.shape else result.lungs
        # The unit does not matter here; telling it from the numbers would read them.
        volume = volume_from_layer(layer, document.time_index, "arbitrary")
        document.axis = volume.axial_axis
        return cls(document, layer, volume)

    @property
    def name(self) -> str:
        """What the volume is called."""
        return self.layer.name + "".join(f" t{index}" for index in self.document.time_index)

    @property
    def has_image(self) -> bool:
        """Whether the mask can be found again, by its image."""
        return is_image(self.layer)

    def belong(self, case: Case) -> None:
        """Save under that case, whose slices may be counted along another axis, as the geometry was another one then."""
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
            affine=volume_from_layer(self.layer, self.document.time_index, "arbitrary").affine,
            axis=self.document.axis,
            unit=self.unit,
            dtype=self.volume.array.dtype,
        )
