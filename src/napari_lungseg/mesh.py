"""Masks as smooth closed surfaces in LPS millimetres, and files of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import edt
import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.files import new_path, write_whole
from napari_lungseg.grid import upright
from napari_lungseg.labels import label_name
from napari_lungseg.translation import say
from napari_lungseg.volume import Affine, Volume, bounding_box, labels_in

if TYPE_CHECKING:
    from trimesh import Trimesh

#: Endings that :func:`write_surfaces` takes.
MESH_ENDINGS = (".stl", ".obj", ".ply", ".glb")
#: Colours of the right lung, the left one, what else models find, and every other label.
COLOURS = {1: "#3ddc97", 2: "#4aa8ff", 3: "#ffff3e", 4: "#cf679b", 5: "#b0302a"}
OTHER_COLOUR = "#e8e8e8"
#: Part of a vertex's way to the mean of its neighbours that a step of smoothing takes, there and back; the pass band of
#: G. Taubin, "A signal processing approach to fair surface design", SIGGRAPH 1995, is 1/0.5 - 1/0.53 = 0.11.
_SHRINK, _GROW = 0.5, 0.53
#: How hard decimation tries; where that joins edges of a ragged surface, a gentler one stops early rather than that.
_AGGRESSIONS = (7.0, 3.0)
#: Part of the volume that may be missing after :func:`_inflate`, and after how many tries it is left at that.
_CLOSE, _TRIES = 1e-4, 20


@dataclass(frozen=True)
class MeshSettings:
    """How smooth and how fine a surface is.

    Attributes
    ----------
    smoothing : int
        Rounds of Taubin's smoothing, 0 to 200.
    most_faces : int or None
        A finer surface is decimated to as many triangles, or as few as leave it closed; None keeps them all.
    """

    smoothing: int = 20
    most_faces: int | None = 200_000

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing <= 200:
            raise InputError(f"A surface cannot be smoothed {self.smoothing} times; choose 0 to 200.")
        if self.most_faces is not None and self.most_faces < 100:
            raise InputError(f"A surface of at most {self.most_faces} triangles has no shape; choose 100 or more.")


def surface(labels: Volume, label: int | None = None, settings: MeshSettings | None = None) -> Trimesh:
    """The surface of one label, or of all together.

    It runs half way between the centres of voxels in the mask and those outside it, encloses the volume of the mask's voxels, and
    is closed, also where the mask reaches the border of the image.

    Parameters
    ----------
    labels : Volume
        (Z, Y, X), or (Y, X) as one slice.
    label : int, optional
        Which; None for everything above 0.
    settings : MeshSettings, optional
        Smoothing and number of triangles.

    Returns
    -------
    surface : trimesh.Trimesh
        Vertices in LPS mm (x, y, z), in pixels where the labels have no known spacing; normals point outward.

    Raises
    ------
    InputError
        When the mask is empty.
    """
    volume = upright(labels)
    array = np.asarray(volume.array)
    mask = array > 0 if label is None else array == label
    box = bounding_box(mask)
    if box is None:
        what = say("no voxel above 0") if label is None else say("no voxel of label {number}", number=label)
        raise InputError(say("There is {what} in the labels, so there is no surface; choose another mask.", what=what))
    return mask_surface(mask[box], volume.crop(box).affine, settings or MeshSettings())


def surfaces(labels: Volume, settings: MeshSettings | None = None) -> dict[int, Trimesh]:
    """The surface of every label; see :func:`surface`."""
    array = np.asarray(labels.array)
    found = [label for label in labels_in(array) if label > 0]
    if not found:
        raise InputError(say("There is no voxel above 0 in the labels, so there is no surface; choose another mask."))
    return {label: surface(labels, label, settings) for label in found}


def mask_surface(mask: npt.NDArray[np.bool_], affine: Affine, settings: MeshSettings) -> Trimesh:
    """As :func:`surface`, of a mask (Z, Y, X) that is not empty and its affine."""
    import trimesh
    from skimage.measure import marching_cubes

    # Lewiner's own cases join some edges of four triangles, which "lorensen" does not.
    vertices, faces, _, _ = marching_cubes(_distance(mask, affine), 0.0, method="lorensen")
    # They point inward where (z, y, x) are taken for a right-handed system.
    inward = np.linalg.det(affine[:3, :3]) > 0
    # -1, as the mask was padded.
    placed = (vertices - 1.0) @ affine[:3, :3].T + affine[:3, 3]
    made = trimesh.Trimesh(placed, faces[:, ::-1] if inward else faces, process=False)
    volume_mm3 = float(np.count_nonzero(mask)) * abs(float(np.linalg.det(affine[:3, :3])))
    if settings.smoothing:
        # Half of trimesh's iterations shrink, the others grow.
        trimesh.smoothing.filter_taubin(made, _SHRINK, _GROW, 2 * settings.smoothing)
    if settings.most_faces is not None and len(made.faces) > settings.most_faces:
        made = _decimated(made, settings.most_faces)
    _inflate(made, volume_mm3, float(np.linalg.norm(affine[:3, :3], axis=0).min()) / 4)
    return made


def _distance(mask: npt.NDArray[np.bool_], affine: Affine) -> npt.NDArray[np.float32]:
    """Signed distance in mm to the nearest voxel on the other side, positive inside, with one voxel more on each side.

    Its zero is where that of the mask itself is along the axes of a slice; between slices, where a mask ends in the middle of
    the next one's, it is a slope and not a step (shape-based interpolation: Raya and Udupa, IEEE TMI 1990).
    """
    padded = np.pad(mask, 1)
    spacing = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    distance = edt.edt(padded, anisotropy=spacing, parallel=0)
    distance -= edt.edt(~padded, anisotropy=spacing, parallel=0)
    return distance


def _decimated(made: Trimesh, most_faces: int) -> Trimesh:
    """With fewer triangles, but for a surface that would not stay closed."""
    import fast_simplification
    import trimesh

    for aggression in _AGGRESSIONS:
        vertices, faces = fast_simplification.simplify(
            np.asarray(made.vertices), np.asarray(made.faces, np.int32), target_count=most_faces, agg=aggression
        )
        fewer = trimesh.Trimesh(vertices, faces, process=False)
        if fewer.is_watertight:
            return fewer
    return made


def _inflate(made: Trimesh, volume_mm3: float, most_mm: float) -> None:
    """Move a surface along its normals, by at most so much at a time, until it encloses a volume."""
    normals = np.array(made.vertex_normals)
    for _ in range(_TRIES):
        lack = volume_mm3 - enclosed_mm3(made)
        if abs(lack) <= _CLOSE * volume_mm3:
            return
        # What smoothing has made a dot has nearly no area: its way is not told by that.
        made.vertices += normals * float(np.clip(lack / made.area, -most_mm, most_mm))


def enclosed_mm3(made: Trimesh) -> float:
    """Volume of a closed surface, positive where its normals point outward; ``Trimesh.volume`` is slow, for the inertia."""
    corners = np.asarray(made.vertices) - made.vertices[0]
    a, b, c = (corners[made.faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6.0


def write_surfaces(made: Mapping[int, Trimesh], path: str | Path, names: Mapping[int, str] | None = None) -> Path:
    """Write the surfaces of labels to one file; the ending decides the format.

    Coordinates are LPS mm, as 3D Slicer takes them. GLB, OBJ and PLY carry the colours of the labels, GLB and OBJ their names too;
    STL is one body of triangles. (Programs that go by glTF's own unit take a millimetre of a GLB for a metre.)

    Parameters
    ----------
    made : mapping
        Surfaces by label, as of :func:`surfaces`.
    path : path
        A file name, in an existing folder, that ends in one of ``MESH_ENDINGS``.
    names : mapping of int to str, optional
        What the labels are; else they are called by their numbers.

    Returns
    -------
    path : Path
        What was written.

    Raises
    ------
    InputError
        When the ending is another, or the file cannot be written.
    """
    import trimesh

    path = check_mesh_path(path)
    kind = path.suffix.lower()[1:]
    scene = trimesh.Scene()
    for label, mesh in made.items():
        colour = trimesh.visual.color.hex_to_rgba(COLOURS.get(label, OTHER_COLOUR))
        coloured = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=np.tile(colour, (len(mesh.vertices), 1)), process=False)
        scene.add_geometry(coloured, geom_name=label_name(label, names), node_name=label_name(label, names))
    whole = scene.to_mesh() if kind in ("stl", "ply") else scene
    write_whole(path, whole.export(file_type=kind))
    return path


def check_mesh_path(path: str | Path) -> Path:
    """The path, if :func:`write_surfaces` can write to it (InputError where not), before anything long is begun."""
    path = new_path(path)
    if path.suffix.lower() not in MESH_ENDINGS:
        raise InputError(f"{path} does not end in a format for surfaces; use {', '.join(MESH_ENDINGS[:-1])} or {MESH_ENDINGS[-1]}.")
    return path
