"""Which class a voxel has where only its neighbours can tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.segmentation import expand_labels

from napari_lungseg.classes import ClassLabels
from napari_lungseg.mask import apply_threshold

#: How far, in pixels, labels are carried over to voxels that a lower threshold adds; and by how much the slice is thinned for it,
#: as this must not be felt while the slider is dragged.
NEIGHBOUR = 60
THIN = 4

Bytes = npt.NDArray[np.uint8]


def completed(likeliest: Bytes, percent: Bytes, threshold: float, classes: ClassLabels) -> Bytes:
    """The label of the most likely class also of voxels above the threshold of which it is not known: that of the nearest one.

    All arrays are (Z, Y, X) or (Y, X). Neighbours are looked for in the plane of the last two axes.
    """
    planes, above = likeliest.reshape(-1, *likeliest.shape[-2:]), percent.reshape(-1, *percent.shape[-2:])
    own = planes
    for index, plane in enumerate(planes):
        if ((plane == 0) & apply_threshold(above[index], threshold)).any():
            own = planes.copy() if own is planes else own
            own[index] = nearest_labels(plane, usual_label(classes))
    return own.reshape(likeliest.shape)


def usual_label(classes: ClassLabels) -> int:
    """Label where nothing tells which one it is: lung if the model knows it, else its first class."""
    return classes.labels[classes.lung or 0]


def nearest_labels(labels: Bytes, default: int) -> Bytes:
    """Labels of a slice (H, W), with 0 replaced by the nearest label, or by a default far from any."""
    near = expand_labels(labels[::THIN, ::THIN], NEIGHBOUR / THIN)
    near[near == 0] = default
    rows, columns = labels.shape
    return np.where(labels > 0, labels, near.repeat(THIN, 0).repeat(THIN, 1)[:rows, :columns]).astype(np.uint8)
