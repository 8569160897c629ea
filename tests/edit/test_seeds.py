import numpy as np
import numpy.typing as npt
import pytest

from napari_lungseg.edit import grow_from_seeds, region
from napari_lungseg.errors import InputError

SPACING = (3.0, 1.0, 1.5)
SHAPE = (24, 90, 80)


def scene() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A noisy CT of two lungs, what they are (1 and 2), and short strokes in both and around them (3)."""
    z, y, x = (index * step for index, step in zip(np.indices(SHAPE), SPACING))
    right = ((z - 36) / 28) ** 2 + ((y - 45) / 32) ** 2 + ((x - 33) / 22) ** 2 < 1
    left = ((z - 36) / 25) ** 2 + ((y - 50) / 28) ** 2 + ((x - 84) / 20) ** 2 < 1
    truth = np.where(right, 1, np.where(left, 2, 0)).astype(np.uint8)
    image = np.where(truth > 0, -850, 40) + np.random.default_rng(0).normal(0, 60, SHAPE)
    seeds = np.zeros(SHAPE, np.uint8)
    seeds[6:19, 45, 18:28] = 1
    seeds[6:19, 50, 50:62] = 2
    seeds[[2, 12, 21], 5, 5:75] = seeds[[2, 12, 21], 85, 5:75] = seeds[12, 10:80, 39] = seeds[12, 5:85, [2, 77]] = 3
    seeds[2, 5:85:4] = seeds[21, 5:85:4] = 3
    return image.astype(np.int16), truth, seeds


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_labels_grow_to_the_edges_in_the_image() -> None:
    image, truth, seeds = scene()
    grown = grow_from_seeds(seeds, image, SPACING, background=3)
    assert set(np.unique(grown)) == {0, 1, 2}
    assert dice(grown == 1, truth == 1) > 0.97
    assert dice(grown == 2, truth == 2) > 0.97


def test_they_grow_on_a_slice_too() -> None:
    image, truth, seeds = scene()
    grown = grow_from_seeds(seeds[12], image[12], SPACING[1:], background=3)
    assert dice(grown == 1, truth[12] == 1) > 0.97
    assert dice(grown == 2, truth[12] == 2) > 0.97


def test_every_seed_stays_and_the_background_only_where_it_is_none() -> None:
    image, _, seeds = scene()
    kept = grow_from_seeds(seeds, image, SPACING)
    assert np.array_equal(kept[seeds > 0], seeds[seeds > 0])
    assert set(np.unique(kept)) == {1, 2, 3}
    without = grow_from_seeds(seeds, image, SPACING, background=3)
    assert np.array_equal(without, np.where(kept == 3, 0, kept))


def test_nothing_grows_far_beyond_the_box_around_the_seeds() -> None:
    image = np.zeros((100, 100), np.int16)
    seeds = np.zeros((100, 100), np.uint8)
    seeds[40:60, 40], seeds[40:60, 60] = 1, 2
    grown = grow_from_seeds(seeds, image, (1.0, 0.5))
    assert (grown[30:70, 20:81] > 0).all()
    assert np.count_nonzero(grown) == 40 * 61
    assert (grown[30:70, 20:50] == 1).all()
    assert (grown[30:70, 51:81] == 2).all()


def test_an_edge_between_thick_slices_counts_as_one_within() -> None:
    image = np.zeros((21, 41, 41), np.float32)
    image[:10] = -800
    seeds = np.zeros(image.shape, np.uint16)
    seeds[2, 20, 20], seeds[18, 20, 20] = 300, 7
    grown = grow_from_seeds(seeds, image, (8.0, 1.0, 1.0))
    assert (grown[1:10, 10:31, 10:31] == 300).all()
    assert (grown[10:20, 10:31, 10:31] == 7).all()


def test_edges_are_as_strong_as_they_are_steep_per_millimetre() -> None:
    image = np.zeros((21, 41), np.int16)
    image[10:, :20], image[10:, 20:] = 300, 500
    seeds = np.zeros(image.shape, np.uint8)
    seeds[2, 5:36], seeds[18, 35] = 1, 2
    # 300 from one slice of 8 mm to the next is less steep than 200 from one pixel of 1 mm to the next.
    assert (grow_from_seeds(seeds, image, (8.0, 1.0))[12:18, 5:15] == 1).all()
    assert (grow_from_seeds(seeds, image, (1.0, 1.0))[12:18, 5:15] == 2).all()


def test_the_tiles_that_an_image_is_worked_on_in_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _, seeds = scene()
    at_once = grow_from_seeds(seeds, image, SPACING)
    monkeypatch.setattr(region, "TILE_VOXELS", 8**3)
    assert np.array_equal(grow_from_seeds(seeds, image, SPACING), at_once)


def test_metal_and_missing_values_between_the_seeds_do_no_harm() -> None:
    image, truth, seeds = scene()
    image = image.astype(np.float32)
    image[:, 43:46, 38:41] = 3e7
    image[:, :3] = np.nan
    grown = grow_from_seeds(seeds * (image < 20000), image, SPACING, background=3)
    assert dice(grown == 1, truth == 1) > 0.97


def test_what_cannot_grow_is_refused() -> None:
    image, _, seeds = scene()
    for few in (np.zeros_like(seeds), np.where(seeds == 1, 1, 0)):
        with pytest.raises(InputError, match="Seeds of at least two labels"):
            grow_from_seeds(few, image, SPACING)
    with pytest.raises(InputError, match="no seeds of label 4, which stands for the background"):
        grow_from_seeds(seeds, image, SPACING, background=4)
    with pytest.raises(InputError, match="one grid"):
        grow_from_seeds(seeds, image[1:], SPACING)
    with pytest.raises(InputError, match="no number"):
        grow_from_seeds(seeds, np.full(SHAPE, np.nan), SPACING)
