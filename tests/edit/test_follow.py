"""Fill between slices by the image."""

import numpy as np
import pytest

from napari_lungseg import edit
from napari_lungseg.errors import InputError
from napari_lungseg.sample import sample_ct, sample_lungs

SPACING = (5.0, 2.0, 2.0)


def bent(slices: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """A disc that moves there and back between the first slice and the last, and noise that moves with it."""
    noise = np.random.default_rng(0).normal(0, 60, (128, 160))
    image, disc = [], []
    y, x = np.indices(noise.shape)
    for index in range(slices):
        moved = round(8 * np.sin(np.pi * index / (slices - 1)))
        disc.append(np.hypot(y - 64, x - 60 - moved) < 20)
        image.append(np.roll(noise, moved, 1) - 800 * disc[-1])
    return np.stack(image), np.stack(disc)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_moves_there_and_back_is_followed_along_any_axis(axis: int) -> None:
    image, disc = bent()
    labels = np.zeros(disc.shape, np.uint8)
    labels[[0, -1]] = disc[[0, -1]]
    turned, spacing = np.moveaxis(labels, 0, axis), list(SPACING[1:])
    spacing.insert(axis, SPACING[0])
    filled = np.moveaxis(edit.fill_between_by_image(turned, np.moveaxis(image, 0, axis), 1, axis, tuple(spacing)), axis, 0)
    by_shape = edit.fill_between(labels, 1, 0, SPACING)
    assert dice(by_shape[4] > 0, disc[4]) < 0.8
    assert all(dice(filled[index] > 0, disc[index]) > 0.95 for index in range(9))
    assert np.array_equal(filled[[0, -1]], labels[[0, -1]])


def test_on_a_real_scan_it_leaves_less_wrong_than_shapes_alone() -> None:
    known = np.asarray(sample_lungs().array) > 0
    spacing = sample_ct().spacing
    drawn = range(2, 27, 4)
    between = [index for index in range(2, 26) if index not in drawn]
    labels = np.zeros(known.shape, np.uint8)
    labels[drawn] = known[drawn]

    def wrong(filled: np.ndarray) -> int:
        return int(((filled > 0) != known)[between].sum())

    by_image = edit.fill_between_by_image(labels, np.asarray(sample_ct().array), 1, 0, spacing)
    assert wrong(by_image) < 0.8 * wrong(edit.fill_between(labels, 1, 0, spacing))


def test_an_image_without_contrast_gives_the_mean_of_both_shapes() -> None:
    labels = np.zeros((5, 64, 64), np.uint8)
    labels[0, 10:30, 10:30] = labels[4, 10:30, 12:32] = 1
    filled = edit.fill_between_by_image(labels, np.zeros(labels.shape, np.int16), 1, 0, (1.0, 1.0, 1.0))
    middle = np.argwhere(filled[2])
    assert middle[:, 0].mean() == pytest.approx(19.5, abs=0.5)
    assert middle[:, 1].mean() == pytest.approx(20.5, abs=0.5)
    assert filled[2].sum() == pytest.approx(400, rel=0.05)


def test_other_labels_stay() -> None:
    image, disc = bent()
    labels = np.zeros(disc.shape, np.uint8)
    labels[[0, -1]] = disc[[0, -1]]
    labels[4, 60:68, 60:76] = 2
    assert np.array_equal(edit.fill_between_by_image(labels, image, 1, 0, SPACING) == 2, labels == 2)


def test_an_image_of_another_shape_is_refused() -> None:
    labels = np.zeros((5, 8, 8), np.uint8)
    with pytest.raises(InputError, match="do not lie on one grid"):
        edit.fill_between_by_image(labels, np.zeros((5, 8, 9)), 1, 0, SPACING)
