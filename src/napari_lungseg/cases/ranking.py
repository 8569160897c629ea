"""Measure what hints at errors in the mask of a case, and put the cases in order that need a person's look first.

Bounds and their sources
------------------------
Volume of both lungs, 1500 to 10000 mL
    The equations of the Global Lung Function Initiative (Hall et al., Eur Respir J 57:2000289, 2021) without their small age spline
    give a woman of 25 years and 145 cm a residual volume of 0.84 L, and a man of 25 years and 195 cm a total lung capacity of 8.0 L,
    at most 9.7 L at the 95th percentile. A mask holds the tissue too, up to 0.9 L (Denison et al., Thorax 41:620, 1986), and people lie
    in a CT, which takes 5 to 15 % (Yamada et al. 2020, PMID 33004894). So 1500 mL is about a small woman who has breathed out.
Right by left lung, 0.9 to 1.5
    The right lung of 32 healthy people who lay in a CT had 53.6 % of the volume, with a standard deviation of 1.5 % (Yamada et al. 2020,
    PMC7490509, table 3). The bounds are four standard deviations off.
Parts, 2
    One for each lung, or one where they touch: so it is in the reference masks of eight CT that were looked at. Parts below 2 mL, the
    smallest that :class:`~napari_lungseg.mask.MaskSettings` keeps, are not counted.
Grey values of the body that no image of the training has, 27 %
    Measured (``benchmarks/unlike.py``): of 93 ordinary images, each against the 59 of the training that it is none of, the highest was
    26 %; of the 34 held-out ones saved with a soft-tissue window, the lowest was
    35 %.
Area on a border of the image, 1 cm²
    A choice: less lung on the last slice continues for no more than a few mL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from napari_lungseg.grid import upright
from napari_lungseg.labels import lung_labels
from napari_lungseg.review import measure_slices
from napari_lungseg.volume import Volume, bounding_box

VOLUME_ML = (1500.0, 10000.0)
RIGHT_LEFT = (0.9, 1.5)
MOST_PARTS, SMALLEST_PART_ML = 2, 2.0
LARGEST_CUT_CM2 = 1.0
#: In percent of the body.
MOST_UNLIKE = 27.0
#: Volume, sides and parts are compared with those of a whole chest where the image covers this length of the body (mm).
CHEST_LONG_MM = 200.0
#: Kinds of oddity, the gravest first. The last does not put a case before others: a mask may be right up to the border.
KINDS = ("no lung", "side missing", "unlike training", "volume", "right/left", "parts", "cut off")
NO_LUNG, MISSING, UNLIKE, VOLUME, RATIO, PARTS, CUT_OFF = KINDS
#: Borders of an upright image, at the start and the end of each axis.
_BORDERS = (("feet", "head"), ("front", "back"), ("right side", "left side"))


@dataclass(frozen=True)
class Oddity:
    """Something unusual about a mask.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    text : str
        What it is, with the figure and the bound, as a sentence.
    value : float
        The figure.
    bounds : (float or None, float or None)
        Lowest and highest usual figure; None where there is no such bound.
    """

    kind: str
    text: str
    value: float
    bounds: tuple[float | None, float | None]


@dataclass(frozen=True)
class CaseMeasures:
    """What is known of a case's mask without a reference.

    Attributes
    ----------
    volume_ml : float or None
        Of the lungs together; None without a known spacing.
    right_ml, left_ml : float or None
        Of each lung; None without a known spacing, or where the sides are not told apart.
    right_left : float or None
        Volume of the right lung by that of the left; None where there are not both.
    parts : int or None
        Parts of the lungs of at least 2 mL; None without a known spacing.
    expected_error_ml : float or None
        What :meth:`~napari_lungseg.review.SliceMeasures.expected_error_mm2` of all slices adds up to; None without a known spacing.
    expected_error_percent : float or None
        The same in percent of the mask; None where that is empty.
    oddities : tuple of Oddity
        The gravest first.
    unlike_percent : float or None
        Share of the body whose grey values no image of the model's training has; None where that is not known.
    """

    volume_ml: float | None
    right_ml: float | None
    left_ml: float | None
    right_left: float | None
    parts: int | None
    expected_error_ml: float | None
    expected_error_percent: float | None
    oddities: tuple[Oddity, ...]
    unlike_percent: float | None = None


def measure_case(labels: Volume, probability: Volume | None = None, *, unlike: float | None = None) -> CaseMeasures:
    """Measure the mask of a case.

    Parameters
    ----------
    labels : Volume
        (Z, Y, X) or (Y, X), in any orientation. Its names say which labels are lungs; without names all labels are.
    probability : Volume, optional
        The network's, in percent (uint8), on the same grid.
    unlike : float, optional
        What :func:`~napari_lungseg.cases.unlike_training` says of the image.

    Returns
    -------
    CaseMeasures
        Oddities of volume, sides and parts only where the image covers 200 mm of the body; of a model that knows no lung, none.

    Raises
    ------
    InputError
        When the probability is not in percent or lies on another grid.
    """
    turned = upright(labels)
    array = np.asarray(turned.array)
    error_ml, error_percent = _expected_error(turned, probability)
    lungs = {int(label): "lungs" for label in np.unique(array) if label > 0} if labels.names is None else lung_labels(labels.names)
    mask = np.isin(array, list(lungs))
    known = turned.spacing_known
    voxels = {side: sum(int(np.count_nonzero(array == label)) for label in lungs if lungs[label] == side) for side in ("right", "left")}
    sides = voxels if {"right", "left"} <= set(lungs.values()) else {}
    ratio = sides["right"] / sides["left"] if sides and all(sides.values()) else None
    volume_ml = float(np.count_nonzero(mask)) * turned.voxel_ml if known else None
    parts = _parts(mask, turned.voxel_ml) if known else None
    oddities: list[Oddity] = []
    if lungs and not mask.any():
        oddities = [Oddity(NO_LUNG, "No lung was found; usual are two.", 0.0, (2.0, 2.0))]
    elif lungs:
        oddities = [
            Oddity(MISSING, f"The {side} lung is missing; usual are two lungs.", 1.0, (2.0, 2.0)) for side in sides if not sides[side]
        ]
        if volume_ml is not None and parts is not None and turned.shape[0] * turned.spacing[0] >= CHEST_LONG_MM:
            oddities += _unlike_a_chest(volume_ml, ratio, parts)
        if known:
            oddities += _cuts(mask, turned)
    unlike_percent = None if unlike is None else 100.0 * unlike
    if unlike_percent is not None and unlike_percent > MOST_UNLIKE:
        text = (
            f"The image is unlike the training data: {unlike_percent:.0f} % of the body have grey values that no image of it has; "
            f"usual are at most {MOST_UNLIKE:g} %."
        )
        oddities.append(Oddity(UNLIKE, text, unlike_percent, (None, MOST_UNLIKE)))
        oddities.sort(key=lambda oddity: KINDS.index(oddity.kind))
    side_ml = {side: count * turned.voxel_ml for side, count in sides.items()} if known else {}
    return CaseMeasures(
        volume_ml=volume_ml,
        right_ml=side_ml.get("right"),
        left_ml=side_ml.get("left"),
        right_left=ratio,
        parts=parts,
        expected_error_ml=error_ml,
        expected_error_percent=error_percent,
        oddities=tuple(oddities),
        unlike_percent=unlike_percent,
    )


def rank_cases(cases: Mapping[str, CaseMeasures]) -> list[str]:
    """Put cases in the order in which a person should look at them.

    The kind of the gravest oddity comes first, then the expected error in mL, the largest first, then the number of oddities, then the
    name. Cases whose voxels have no known size come before the others of their kind, by the expected error in percent: nothing is
    known of their volume. The order of the mapping does not matter.

    Parameters
    ----------
    cases : mapping of str to CaseMeasures
        By name.

    Returns
    -------
    list of str
        All names.
    """
    return sorted(cases, key=lambda name: (*_need(cases[name]), name))


def _need(case: CaseMeasures) -> tuple[int, bool, float, int]:
    gravest = min((KINDS.index(oddity.kind) for oddity in case.oddities), default=len(KINDS))
    known = case.expected_error_ml is not None
    error = case.expected_error_ml if known else case.expected_error_percent
    return min(gravest, KINDS.index(CUT_OFF)), known, -(error or 0.0), -len(case.oddities)


def _expected_error(turned: Volume, probability: Volume | None) -> tuple[float | None, float | None]:
    """Expected error of an upright mask, in mL and in percent of it."""
    percent = None if probability is None else np.asarray(upright(probability).array)
    array, axis = np.asarray(turned.array), turned.axial_axis
    pixel_mm2 = float(np.prod([step for other, step in enumerate(turned.spacing) if other != axis]))
    pixels = float(measure_slices(array, turned.spacing, percent, axis=axis).expected_error_mm2().sum()) / pixel_mm2
    voxels = int(np.count_nonzero(array))
    return pixels * turned.voxel_ml if turned.spacing_known else None, 100.0 * pixels / voxels if voxels else None


def _parts(mask: npt.NDArray[np.bool_], voxel_ml: float) -> int:
    box = bounding_box(mask)
    if box is None:
        return 0
    numbers = cc3d.connected_components(np.ascontiguousarray(mask[box]), connectivity=26, binary_image=True)
    return int(np.count_nonzero(cc3d.statistics(numbers)["voxel_counts"][1:] * voxel_ml >= SMALLEST_PART_ML))


def _unlike_a_chest(volume_ml: float, ratio: float | None, parts: int) -> list[Oddity]:
    found = []
    if not VOLUME_ML[0] <= volume_ml <= VOLUME_ML[1]:
        text = f"The lungs have {volume_ml:.0f} mL; usual are {VOLUME_ML[0]:.0f} to {VOLUME_ML[1]:.0f} mL."
        found.append(Oddity(VOLUME, text, volume_ml, VOLUME_ML))
    if ratio is not None and not RIGHT_LEFT[0] <= ratio <= RIGHT_LEFT[1]:
        text = f"The right lung has {ratio:.2f} times the volume of the left; usual are {RIGHT_LEFT[0]:g} to {RIGHT_LEFT[1]:g}."
        found.append(Oddity(RATIO, text, ratio, RIGHT_LEFT))
    if parts > MOST_PARTS:
        text = f"The lungs are in {parts} parts of {SMALLEST_PART_ML:g} mL or more; usual are at most {MOST_PARTS}."
        found.append(Oddity(PARTS, text, float(parts), (None, float(MOST_PARTS))))
    return found


def _cuts(mask: npt.NDArray[np.bool_], turned: Volume) -> list[Oddity]:
    """Borders of an upright image on which there is lung; the two along an axis of a single slice are none."""
    found = []
    for axis, names in enumerate(_BORDERS):
        if mask.shape[axis] == 1:
            continue
        face_cm2 = float(np.prod([step for other, step in enumerate(turned.spacing) if other != axis])) / 100.0
        for name, index in zip(names, (0, -1)):
            area = face_cm2 * float(np.count_nonzero(mask.take(index, axis)))
            if area > LARGEST_CUT_CM2:
                text = f"Cut off at the {name}: {area:.1f} cm² of lung lie on the border; usual is at most {LARGEST_CUT_CM2:g} cm²."
                found.append(Oddity(CUT_OFF, text, area, (None, LARGEST_CUT_CM2)))
    return found
