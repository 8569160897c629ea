"""Two label images brought onto one grid."""

from __future__ import annotations

from dataclasses import dataclass

from napari_lungseg.grid import on_same_grid, orientation_of, solid, with_segmentation_whole
from napari_lungseg.labels import labels_of
from napari_lungseg.metrics.naming import Names, match
from napari_lungseg.translation import mark
from napari_lungseg.volume import Array, Orientation, Volume


@dataclass(frozen=True, eq=False)
class Pair:
    """A prediction and its reference, upright and of three axes.

    Attributes
    ----------
    predicted, expected : array
        Labels of prediction and reference, of the same shape.
    names : mapping of int to str, or None
        What the labels of both are; None where nothing is known.
    spacing : tuple of float
        In mm, for each axis.
    voxel_ml : float
        Volume of a voxel.
    reference : Volume
        As it was given.
    orientation : Orientation
        Takes arrays back to the reference's own three axes.
    """

    predicted: Array
    expected: Array
    names: Names
    spacing: tuple[float, ...]
    voxel_ml: float
    reference: Volume
    orientation: Orientation

    def slices(self) -> list[tuple[Array, Array]]:
        """Both labels slice by slice, each still of three axes, in the order in which the reference stores its axial slices."""
        stored = [self.orientation.restore(array) for array in (self.predicted, self.expected)]
        # A lone slice is one slice, whichever way it was cut.
        axis = solid(self.reference).axial_axis
        parts = []
        for index in range(stored[0].shape[axis]):
            cut = (slice(None),) * axis + (slice(index, index + 1),)
            parts.append((self.orientation.apply(stored[0][cut]), self.orientation.apply(stored[1][cut])))
        return parts

    def on_reference(self, array: Array) -> Array:
        """An array of the upright grid on the reference's own."""
        stored = self.orientation.restore(array)
        return stored[0] if self.reference.ndim == 2 else stored


def bring_together(prediction: Volume, reference: Volume, *, by_name: bool = True) -> Pair:
    """Both upright and, where they have names, in one numbering, after making sure that they agree (else InputError)."""
    advice = mark("give the mask that was made on the reference's own image, or resample it first.")
    prediction, reference = with_segmentation_whole(prediction, reference)
    one, other = on_same_grid(prediction, reference, (mark("prediction"), mark("reference")), advice)
    predicted, expected = labels_of(one.array, mark("The prediction")), labels_of(other.array, mark("The reference"))
    names: Names = None
    if by_name:
        predicted, names = match(predicted, prediction.names, expected, reference.names)
    return Pair(predicted, expected, names, other.spacing, other.voxel_ml, reference, orientation_of(reference, prediction))
