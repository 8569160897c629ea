"""Between napari layers and volumes: the geometry both ways.

napari's world is taken as the patient's LPS space in mm, its axes named (z, y, x). What napari 0.9 does with a transform
decides how a volume is shown (tried with a real viewer):

- Flips (negative scales) show, slice and paint rightly; they stay in the scale.
- Permuted axes (sagittal or coronal acquisitions) make napari fail: it slices by the diagonal of the matrix, which is then
  zero. The data are shown as a transposed view, so that the layer's axes run nearest to z, y and x.
- A rotation within the slices works; it becomes the layer's ``affine``.
- A tilt out of the slices shows blank or shifted slices, and paints into others than the one shown. Such a volume stands
  upright in the world, turned about its centre; so does a lone slice that is not axial. How that world lies in the patient
  is kept in the layer's metadata, which :func:`volume_from_layer` reads: the geometry of the volume is never lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pint
from napari.layers import Image, Labels, Layer

from napari_lungseg.errors import InputError
from napari_lungseg.formats.picture import to_grey
from napari_lungseg.preprocess import guess_unit
from napari_lungseg.volume import Affine, Array, Unit, Volume, axis_order
from napari_lungseg.widgets.language import tr, tr_n

#: Keys of a layer's metadata: the volume's unit, by what it was told, whether it is known how the patient lies in it, and the affine
#: from the world (x, y, z, 1) to LPS where these differ.
UNIT = "intensity_unit"
WHY_UNIT = "intensity_unit_told_by"
ORIENTED = "orientation_known"
LPS_FROM_WORLD = "lps_from_world"
#: Key under which an image of DICOM, and what is made from it, has its file or folder ("path") and the key of its series at each
#: point of time ("series"; None where there is only one); no word of the patient.
SOURCE = "dicom_source"
#: Key under which a layer of a mask says, by time point, how many of its slices are to be read blind: they lack the model's mask.
BLIND = "napari-lungseg blind slices"
#: Key under which a layer that only shows something of a mask says what: "probability", "changes", "errors" ...
ROLE = "napari-lungseg role"
#: What a rotation may move the furthest voxel and still count as none, in voxels.
_NEGLIGIBLE = 0.01


def volume_from_layer(layer: Image | Labels, time_index: tuple[int, ...] = (), unit: Unit | None = None) -> Volume:
    """The image of a layer, with all of its transforms; lazy data stay lazy.

    Parameters
    ----------
    layer : Image or Labels
        2-D, 3-D, or with more (time) axes before the last three. RGB is made grey; of a multiscale layer the full
        resolution is taken.
    time_index : tuple of int
        Index along each axis before the last three; empty for the first.
    unit : {"HU", "arbitrary"}, optional
        What the numbers mean; None: as the file said, else guessed from some slices.

    Returns
    -------
    volume : Volume
        In mm, by the layer's units. Pixels are taken as mm where a scale is given, else ``spacing_known`` is False.

    Raises
    ------
    InputError
        When there is no such time point, or an axis of the volume is not measured in lengths.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    if not isinstance(data, np.ndarray | da.Array):
        data = da.from_array(data)
    leading = max(0, layer.ndim - 3)
    time_index = time_index or (0,) * leading
    if len(time_index) != leading or any(not 0 <= index < length for index, length in zip(time_index, data.shape)):
        raise InputError(
            tr(
                "The layer '{name}' (shape {shape}) has no volume at {time_index}.",
                name=layer.name,
                shape=tuple(data.shape),
                time_index=time_index,
            )
        )
    data = data[time_index] if time_index else data
    if getattr(layer, "rgb", False):
        data = to_grey(data)
    world = _data_to_world(layer, time_index)
    millimetres = _millimetres(layer, world)
    if millimetres is not None:
        world[:-1] *= np.array(millimetres)[:, None]
    affine = np.array(layer.metadata.get(LPS_FROM_WORLD, np.eye(4))) @ _lps(world)
    unit = unit or layer.metadata.get(UNIT) or guess_unit(data)
    return Volume(data, affine, unit, spacing_known=millimetres is not None, oriented=bool(layer.metadata.get(ORIENTED, True)))


def read_volume(volume: Volume) -> Volume:
    """The same volume with its voxels in memory."""
    return replace(volume, array=np.asarray(volume.array))


def is_image(layer: Layer) -> bool:
    """Whether a layer can be segmented: an image, and not one that shows the probability of a mask."""
    return isinstance(layer, Image) and ROLE not in layer.metadata


def check_complete(layer: Layer, time_index: tuple[int, ...]) -> None:
    """Refuse a mask, or its probability, of which slices are to be read blind (InputError): they would count as without lung."""
    count = layer.metadata.get(BLIND, {}).get(time_index, 0)
    if count:
        raise InputError(
            tr_n(
                "{count} slice of '{layer}' wait to be read blind, without the model's mask; read them in Review, or end "
                "blind reading there.",
                "{count} slices of '{layer}' wait to be read blind, without the model's mask; read them in Review, or "
                "end blind reading there.",
                count,
                layer=layer.name,
            )
        )


def labels_now(layer: Labels, time_index: tuple[int, ...]) -> Volume:
    """A copy of a mask as it is now, so that no stroke comes in between.

    Raises
    ------
    InputError
        When slices of it are to be read blind.
    """
    check_complete(layer, time_index)
    volume = volume_from_layer(layer, time_index, "arbitrary")
    return replace(volume, array=np.array(volume.array))


def layer_geometry(layer: Image | Labels) -> dict[str, Any]:
    """Keywords that put another layer, with data of the same shape, in the same place."""
    geometry: dict[str, Any] = {
        name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    }
    kept = {key: layer.metadata[key] for key in (ORIENTED, LPS_FROM_WORLD, SOURCE) if key in layer.metadata}
    return geometry | ({"metadata": kept} if kept else {})


def dicom_source(layer: Image | Labels, time_index: tuple[int, ...] = ()) -> tuple[Path | None, str | None]:
    """The DICOM file or folder that a layer comes from and the key of its series; None where it comes from elsewhere."""
    source = layer.metadata.get(SOURCE)
    if source is None:
        return None, None
    return Path(source["path"]), source["series"][time_index[0] if time_index else 0]


def world_from_lps(layer: Image | Labels, time_index: tuple[int, ...], volume: Volume) -> npt.NDArray[np.float64]:
    """Matrix (4, 4) from LPS (x, y, z, 1) to the layer's own world (z, y, x, 1), in its units.

    Parameters
    ----------
    layer : Image or Labels
        With three axes, or more (time) axes before these.
    time_index : tuple of int
        Index along each axis before the last three.
    volume : Volume
        Of :func:`volume_from_layer` for this layer and time point.
    """
    return _data_to_world(layer, time_index or (0,) * (layer.ndim - 3)) @ np.linalg.inv(volume.affine)


def volume_to_layer(volume: Volume) -> tuple[Array, dict[str, Any]]:
    """Data and keywords of a layer that shows a volume.

    Returns
    -------
    data : array
        The volume's own array, or a transposed view on it.
    keywords : dict
        Scale and translate, or affine; units; axis labels; metadata.
    """
    order, turned = _shown_order(volume)
    data = volume.array.transpose(order) if volume.ndim == 3 else volume.array
    matrix = volume.affine[[2, 1, 0, 3]][:, [*order, 3]] if volume.ndim == 3 else volume.affine[[2, 1, 0, 3]]
    shape = np.array((1,) * (3 - volume.ndim) + data.shape)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    moved = np.abs(matrix[:3, :3] - np.diag(np.diag(matrix[:3, :3]))) * (shape - 1) / spacing[:, None]
    keywords: dict[str, Any]
    axes = volume.ndim
    if not turned and moved[0].max() < _NEGLIGIBLE and moved[:, 0].max() < _NEGLIGIBLE and moved.max() >= _NEGLIGIBLE:
        matrix[0, 1:3] = matrix[1:3, 0] = 0.0
        shown = matrix[3 - axes :, 3 - axes :]
        # napari's brush is round by the scale alone.
        scale = spacing[3 - axes :]
        keywords = {"scale": scale, "affine": shown @ np.diag([*1 / scale, 1.0])}
    else:
        signs = np.where(np.diag(matrix)[:3] < 0, -1.0, 1.0) if not turned else np.ones(3)
        centre = (shape - 1) / 2
        scale = signs * spacing
        translate = matrix[:3, :3] @ centre + matrix[:3, 3] - scale * centre
        keywords = {"scale": scale[3 - axes :], "translate": translate[3 - axes :]}
        shown = np.diag([*keywords["scale"], 1.0])
        shown[:-1, -1] = keywords["translate"]
    true = volume.affine[:, [*order, 3]] if volume.ndim == 3 else volume.affine
    lps_from_world = true @ np.linalg.inv(_lps(shown))
    metadata: dict[str, Any] = {UNIT: volume.unit, ORIENTED: volume.oriented}
    if volume.why_unit:
        metadata[WHY_UNIT] = volume.why_unit
    if not np.allclose(lps_from_world, np.eye(4), atol=1e-9):
        metadata[LPS_FROM_WORLD] = lps_from_world.tolist()
    if volume.spacing_known:
        keywords["units"] = ("mm",) * axes
    return data, keywords | {"axis_labels": ("z", "y", "x")[3 - axes :], "metadata": metadata}


def volumes_to_layer(volumes: Sequence[Volume]) -> tuple[Array, dict[str, Any]]:
    """Data and keywords of a layer with an axis of time, from volumes on one grid."""
    shown = [volume_to_layer(volume) for volume in volumes]
    keywords = shown[0][1]
    keywords["scale"] = (1.0, *keywords["scale"])
    keywords["axis_labels"] = ("t", *keywords["axis_labels"])
    if "translate" in keywords:
        keywords["translate"] = (0.0, *keywords["translate"])
    if "affine" in keywords:
        affine = np.eye(len(keywords["affine"]) + 1)
        affine[1:, 1:] = keywords["affine"]
        keywords["affine"] = affine
    if "units" in keywords:
        keywords["units"] = ("pixel", *keywords["units"])
    return np.stack([data for data, _ in shown]), keywords


def _shown_order(volume: Volume) -> tuple[tuple[int, int, int], bool]:
    """Order in which to show the axes, and whether the layer's world is then not the patient's."""
    if volume.ndim == 2 or not volume.spacing_known:
        return (0, 1, 2), False
    order = axis_order(volume.affine)
    if volume.shape.count(1) == 1 and volume.shape[order[0]] != 1:
        alone = volume.shape.index(1)
        rest = [axis for axis in range(3) if axis != alone]
        return (alone, rest[0], rest[1]), True
    return order, False


def _data_to_world(layer: Image | Labels, time_index: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Homogeneous matrix of all transforms of a layer's volume at a time point, in its own axes and units."""
    origin = np.array(layer.data_to_world(np.zeros(layer.ndim)))
    matrix = np.eye(layer.ndim + 1)
    for axis, unit in enumerate(np.eye(layer.ndim)):
        matrix[:-1, axis] = np.array(layer.data_to_world(unit)) - origin
    matrix[:-1, -1] = origin + matrix[:-1, : len(time_index)] @ np.array(time_index, dtype=float)
    return np.delete(np.delete(matrix, range(len(time_index)), 0), range(len(time_index)), 1)


def _millimetres(layer: Image | Labels, world: npt.NDArray[np.float64]) -> list[float] | None:
    """Millimetres in the unit of each of the last axes; None where a voxel is one pixel and nothing is known."""
    axes = len(world) - 1
    pixel = pint.get_application_registry().pixel
    units = layer.units[-axes:]
    if all(unit == pixel for unit in units) and np.allclose(np.linalg.norm(world[:-1, :-1], axis=0), 1.0):
        return None
    factors = []
    for unit, label in zip(units, layer.axis_labels[-axes:]):
        factor = 1.0 if unit == pixel else _millimetres_in(unit)
        if factor is None:
            raise InputError(
                tr(
                    "Axis {label} of the layer '{name}' is measured in {unit}, not in a length; choose a layer in mm.",
                    label=label,
                    name=layer.name,
                    unit=unit,
                )
            )
        factors.append(factor)
    return factors


@lru_cache
def _millimetres_in(unit: pint.Unit) -> float | None:
    """Millimetres in a unit of length; None for another. Kept, as pint takes milliseconds to tell."""
    return float((1 * unit).to("mm").magnitude) if unit.is_compatible_with("mm") else None


def _lps(world: npt.NDArray[np.float64]) -> Affine:
    """Affine to LPS from a matrix to napari's (z, y, x) or (y, x)."""
    missing = 4 - len(world)
    affine = np.eye(4)
    affine[missing:, missing:] = world
    return affine[[2, 1, 0, 3]]
