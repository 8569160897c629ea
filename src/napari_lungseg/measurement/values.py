"""What :func:`napari_lungseg.measure` gives, as values with their units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: LPS (x, y, z).
Point = tuple[float, float, float]


@dataclass(frozen=True)
class OrientedBox:
    """The smallest box around a region, in any direction.

    Attributes
    ----------
    size_mm : (float, float, float)
        Lengths of its edges, the longest first.
    centre_mm : (float, float, float)
        LPS (x, y, z).
    axes : 3 tuples of (float, float, float)
        LPS unit vectors along the edges, in the order of ``size_mm``.
    """

    size_mm: Point
    centre_mm: Point
    axes: tuple[Point, Point, Point]


@dataclass(frozen=True, eq=False)
class Profile:
    """Size of a region in each slice along the body axis, from its lowest slice to its highest.

    Attributes
    ----------
    voxels : (slices,) array of int
        How many it has in each.
    area_cm2 : (slices,) array of float or None
        Their area in the slice; None where no spacing is known.
    height_mm : (slices,) array of float or None
        LPS z of the middle of each slice; None where no spacing is known.
    """

    voxels: npt.NDArray[np.int64]
    area_cm2: npt.NDArray[np.float64] | None
    height_mm: npt.NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Histogram:
    """Densities of a region.

    Attributes
    ----------
    edges_hu : (bins + 1,) array of float
        Limits of the bins; what lies outside is counted in the outermost.
    voxels : (bins,) array of int
        How many are in each.
    """

    edges_hu: npt.NDArray[np.float64]
    voxels: npt.NDArray[np.int64]

    @property
    def middles_hu(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        return (self.edges_hu[:-1] + self.edges_hu[1:]) / 2


@dataclass(frozen=True)
class Density:
    """Densities of a region, of an image in Hounsfield units.

    Attributes
    ----------
    mean_hu, sd_hu : float
        Mean and standard deviation over the voxels.
    percentiles_hu : dict
        5th, 25th, 50th, 75th and 95th, linear between ranks.
    perc15_hu : float
        15th percentile (Dirksen et al., Am J Respir Crit Care Med 160:1468, 1999).
    laa950_percent : float
        Low attenuation area: part of the voxels below -950 HU (Gevenois et al., Am J Respir Crit Care Med 154:187, 1996).
    ranges_percent : dict
        Part of the voxels in each of :data:`~napari_lungseg.measurement.density.RANGES_HU`; together 100.
    mass_g : float or None
        Volume times mean density, at (HU + 1000) / 1000 g/mL: air weighs nothing and water 1 g/mL (Mull, AJR 143:1101, 1984).
        None where no spacing is known.
    histogram : Histogram
        In steps of 10 HU.
    """

    mean_hu: float
    sd_hu: float
    percentiles_hu: dict[int, float]
    perc15_hu: float
    laa950_percent: float
    ranges_percent: dict[str, float]
    mass_g: float | None
    histogram: Histogram


@dataclass(frozen=True)
class Region:
    """One label, or all together.

    What is in mm, cm² or mL is None where the labels have no known spacing.

    Attributes
    ----------
    label : int or None
        None for all together.
    name : str
        What the label is where that is known, such as "right" or "left lung"; else "label 3"; "together" for all.
    voxels : int
        How many it has.
    volume_ml : float or None
        Their volume (of a slice, its area times the slice distance of its geometry).
    surface_cm2 : float or None
        Area of the smooth surface of :func:`napari_lungseg.mesh.surface`; None for a single slice. Where the mask is cut off by
        the border of the image, the cut is part of it.
    feret_mm : float or None
        Largest distance between two points of its border (the middles of the faces of its voxels).
    centroid_index : tuple of float
        Mean index of its voxels, along the axes of the labels as they were given.
    centroid_mm : (float, float, float) or None
        The same in LPS (x, y, z).
    box_index : tuple of (int, int)
        First index and the one after the last, along the axes of the labels as they were given.
    box_mm : two (float, float, float), or None
        Lowest and highest LPS (x, y, z) of its border.
    oriented_box : OrientedBox or None
        None for a single slice.
    cut_off : tuple of str
        Borders of the image that it touches: "feet", "head", "front", "back", "right", "left"; "start" and "end" of an axis where
        nothing is known of the patient. All measures are then those of the part inside the image.
    profile : Profile
        Its size along the body axis.
    density : Density or None
        None where there is no image, or none in HU.
    """

    label: int | None
    name: str
    voxels: int
    volume_ml: float | None
    surface_cm2: float | None
    feret_mm: float | None
    centroid_index: tuple[float, ...]
    centroid_mm: Point | None
    box_index: tuple[tuple[int, int], ...]
    box_mm: tuple[Point, Point] | None
    oriented_box: OrientedBox | None
    cut_off: tuple[str, ...]
    profile: Profile
    density: Density | None


@dataclass(frozen=True)
class Measurements:
    """All there is to measure of a mask.

    Attributes
    ----------
    regions : tuple of Region
        One for each label, in order; where there are several, all together come last.
    left_right_ratio : float or None
        Voxels of the left lung per voxel of the right; None where there are not both.
    notes : tuple of str
        What was left out or must be known, a sentence each.
    """

    regions: tuple[Region, ...]
    left_right_ratio: float | None
    notes: tuple[str, ...]
