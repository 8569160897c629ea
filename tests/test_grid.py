"""One grid or not: the same answer for every way in which a grid can be stored, and one tolerance."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from geometry import grids, stored_otherwise

from napari_lungseg.errors import InputError
from napari_lungseg.grid import SAME_GRID, grid_difference, laid_on, on_same_grid, voxel_shift
from napari_lungseg.volume import Volume, scaling

ARRAY = np.arange(24).reshape(2, 3, 4)
NAMES = ("labels", "image")


@pytest.mark.parametrize("affine", list(grids())[::9])
def test_a_volume_stored_otherwise_is_laid_on_the_other(affine) -> None:
    image = Volume(ARRAY, affine)
    for order in permutations(range(3)):
        array, turned = stored_otherwise(ARRAY, affine, order, (1,))
        other = Volume(array, turned)
        np.testing.assert_array_equal(laid_on(other, image, NAMES, "").array, ARRAY)
        assert voxel_shift(other, image) is not None
        first, second = on_same_grid(other, image, NAMES, "")
        np.testing.assert_array_equal(first.array, second.array)


def test_slices_are_laid_on_slices_of_two_axes_and_three() -> None:
    affine = scaling((2.0, 1.0, 1.0)) @ np.diag([1, -1, -1, 1])
    flat, solid = Volume(ARRAY[0], affine), Volume(ARRAY[:1], affine)
    bare = Volume(ARRAY[0], np.eye(4), spacing_known=False)
    for one in (flat, solid, bare):
        for other in (flat, solid):
            np.testing.assert_array_equal(laid_on(one, other, NAMES, "").array, ARRAY[0].reshape(other.shape))


def test_what_has_no_geometry_is_not_turned_by_the_others() -> None:
    image = Volume(ARRAY, np.diag([-1.0, -1.0, 1.0, 1.0])[:, [2, 1, 0, 3]])
    bare = Volume(ARRAY, np.eye(4), spacing_known=False)
    np.testing.assert_array_equal(laid_on(bare, image, NAMES, "").array, ARRAY)
    with pytest.raises(InputError, match=r"shape \(4, 3, 2\) against \(2, 3, 4\)"):
        laid_on(Volume(ARRAY.T, np.eye(4), spacing_known=False), image, NAMES, "")


def test_one_tolerance_for_shifts_of_a_part_of_a_voxel() -> None:
    image = Volume(ARRAY, scaling((5.0, 1.0, 1.0)))
    for part, same in ((0.9 * SAME_GRID, True), (1.1 * SAME_GRID, False)):
        other = replace(image, affine=scaling((5.0, 1.0, 1.0), (part, 0.0, 0.0)))
        assert (grid_difference(other, image) is None) is same
        assert (voxel_shift(other, image) is not None) is same


def test_what_differs_is_told() -> None:
    image = Volume(ARRAY, scaling((5.0, 1.0, 1.0)))
    told = {
        "shape (2, 3, 3) against (2, 3, 4)": replace(image, array=ARRAY[..., 1:]),
        "spacing 5 x 1 x 2 mm against 5 x 1 x 1 mm": replace(image, affine=scaling((5.0, 1.0, 2.0))),
        "3 mm apart": replace(image, affine=scaling((5.0, 1.0, 1.0), (0.0, 3.0, 0.0))),
        "turned against each other, corners up to 5.83 mm apart": replace(image, affine=np.diag([-1.0, 1.0, 1.0, 1.0]) @ image.affine),
    }
    for words, other in told.items():
        assert (grid_difference(other, image) or "").startswith(words.split(" corners")[0])
