import math

import numpy as np
import numpy.typing as npt
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.review import (
    MASK_ALONE,
    ONE_OPINION,
    TWO_OPINIONS,
    SliceMeasures,
    Weights,
    in_dispute,
    in_doubt,
    jumps,
    measure_slices,
    next_slice,
    rank,
)

SPACING = (5.0, 0.8, 0.5)
PIXEL_MM2 = 0.4
Case = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def case(seed: int = 0, shape: tuple[int, ...] = (7, 12, 15)) -> Case:
    """Labels, probability and a second opinion of noise, with slices in which nothing is."""
    rng = np.random.default_rng(seed)
    percent, second = rng.integers(0, 101, (2, *shape), np.uint8)
    labels = np.where(percent >= 50, rng.integers(1, 3, shape), 0).astype(np.uint8)
    for array in (labels, percent, second):
        array[2:4] = 0
    return labels, percent, second


def test_a_pixel_is_in_doubt_from_25_to_75_percent() -> None:
    assert np.array_equal(np.flatnonzero(in_doubt(np.arange(101, dtype=np.uint8))), np.arange(25, 76))


def test_a_pixel_is_in_dispute_where_only_one_opinion_calls_it_lung() -> None:
    one, other = np.array([0, 49, 49, 50, 50, 100], np.uint8), np.array([49, 0, 50, 49, 100, 0], np.uint8)
    assert in_dispute(one, other).tolist() == [False, False, True, True, False, True]


def test_a_lung_that_grows_steadily_has_no_jump_and_one_that_is_interrupted_has() -> None:
    disc = np.hypot(*np.mgrid[-20:21, -20:21])
    small, middle, large = (np.uint8(disc < radius) for radius in (8, 11, 14))
    assert not jumps(small, middle, large).any()
    assert not jumps(large, middle, small).any()
    assert np.array_equal(jumps(small, large, small), small != large)
    assert np.array_equal(jumps(middle, np.zeros_like(middle), large), middle > 0)


def test_a_lung_that_changes_sides_in_one_slice_is_a_jump() -> None:
    right = np.ones((3, 4), np.uint8)
    assert jumps(right, 2 * right, right).all()


def test_each_slice_is_measured_in_mm2_and_with_its_neighbours() -> None:
    labels, percent, second = case()
    measures = measure_slices(labels, SPACING, percent, second)
    for k in range(7):
        assert measures.doubt_mm2[k] == pytest.approx(in_doubt(percent[k]).sum() * PIXEL_MM2)
        assert measures.disagreement_mm2[k] == pytest.approx(in_dispute(percent[k], second[k]).sum() * PIXEL_MM2)
    for k in range(1, 6):
        assert measures.jump_mm2[k] == pytest.approx(jumps(labels[k - 1], labels[k], labels[k + 1]).sum() * PIXEL_MM2)
    assert measures.jump_mm2[0] == measures.jump_mm2[-1] == 0


@pytest.mark.parametrize("axis", [1, 2])
def test_slices_may_lie_along_any_axis(axis: int) -> None:
    upright = measure_slices(case()[0], SPACING, *case()[1:])
    moved = [np.moveaxis(array, 0, axis) for array in case()]
    spacing = tuple(np.insert(SPACING[1:], axis, SPACING[0]))
    turned = measure_slices(moved[0], spacing, moved[1], moved[2], axis=axis)
    assert turned.expected_error_mm2() == pytest.approx(upright.expected_error_mm2())
    some = measure_slices(moved[0], spacing, moved[1], moved[2], axis=axis, slices=[6, 1, 4])
    assert some.expected_error_mm2() == pytest.approx(upright.expected_error_mm2()[[6, 1, 4]])


def test_after_a_correction_the_slice_and_its_neighbours_are_enough() -> None:
    labels, percent, second = case(2, (9, 12, 15))
    before = measure_slices(labels, SPACING, percent, second).expected_error_mm2()
    labels[6] = 1
    after = measure_slices(labels, SPACING, percent, second).expected_error_mm2()
    assert set(np.flatnonzero(before != after)) == {5, 6, 7}
    some = measure_slices(labels, SPACING, percent, second, slices=[7, 5, 6]).expected_error_mm2()
    assert some == pytest.approx(after[[7, 5, 6]])


def test_a_flat_image_is_one_slice() -> None:
    labels, percent, second = (array[0] for array in case())
    measures = measure_slices(labels, SPACING[1:], percent, second)
    assert measures.doubt_mm2 == pytest.approx([in_doubt(percent).sum() * PIXEL_MM2])
    assert measures.jump_mm2 == [0]
    assert next_slice(measures.expected_error_mm2(), (), 1.0) == 0
    assert next_slice(measures.expected_error_mm2(), {0}, 1.0) is None


def test_a_probability_of_nothing_expects_no_error_and_is_gone_through_in_order() -> None:
    nothing = np.zeros((4, 5, 6), np.uint8)
    score = measure_slices(nothing, SPACING, nothing).expected_error_mm2()
    assert (score == 0).all()
    assert rank(score, (), 5.0) == [0, 1, 2, 3]


def test_the_score_takes_the_weights_fitted_to_the_measures_that_there_are() -> None:
    labels, percent, second = case()
    full = measure_slices(labels, SPACING, percent, second)
    jump, doubt, disagreement = full.jump_mm2, full.doubt_mm2, full.disagreement_mm2
    assert measure_slices(labels, SPACING).expected_error_mm2() == pytest.approx(MASK_ALONE.jump * jump)
    one = ONE_OPINION.doubt * doubt + ONE_OPINION.jump * jump
    assert measure_slices(labels, SPACING, percent).expected_error_mm2() == pytest.approx(one)
    two = TWO_OPINIONS.doubt * doubt + TWO_OPINIONS.jump * jump + TWO_OPINIONS.disagreement * disagreement
    assert full.expected_error_mm2() == pytest.approx(two)
    assert full.expected_error_mm2(Weights(1, 2, 3)) == pytest.approx(doubt + 2 * jump + 3 * disagreement)


def test_a_slice_with_a_blurred_border_and_one_with_a_hole_come_first() -> None:
    z, y, x = np.mgrid[:30, :64, :64]
    depth = (20 - np.hypot(y - 32, x - 32)) * np.ones_like(z)
    sharpness = np.where(z == 12, 2.0, 20.0)
    percent = np.clip(50 + sharpness * depth, 0, 100).astype(np.uint8)
    labels = (percent >= 50).astype(np.uint8)
    labels[22, 20:44, 20:44] = 0
    assert rank(measure_slices(labels, (2.0, 1.0, 1.0), percent).expected_error_mm2(), (), 2.0)[:2] == [12, 22]


def test_the_highest_score_comes_first_and_never_a_reviewed_one() -> None:
    score = np.array([3.0, 9.0, 1.0, 7.0, 5.0])
    assert rank(score, (), 10.0) == [1, 3, 4, 0, 2]
    assert rank(score, {1, 4}, 10.0) == [3, 0, 2]
    assert next_slice(score, {1, 4}, 10.0) == 3
    assert next_slice(score, range(5), 10.0) is None


def test_neighbours_of_reviewed_slices_wait_as_they_are_near_in_millimetres() -> None:
    score = np.array([10.0, 9.0, 8.0, 7.0, 6.0, 5.0])
    assert rank(score, (), 1.0, 0.0) == [0, 1, 2, 3, 4, 5]
    assert rank(score, (), 1.0, 3.0)[:2] == [0, 3]
    assert next_slice(score, {0}, 1.0, 3.0) == 3
    assert next_slice(score, {0}, 3.0, 3.0) == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_is_what_one_step_after_another_gives(seed: int) -> None:
    score = np.random.default_rng(seed).random(20).round(1)
    reviewed = [4, 11]
    for index in rank(score, reviewed, 2.5, 10.0):
        assert next_slice(score, reviewed, 2.5, 10.0) == index
        reviewed.append(index)
    assert sorted(reviewed) == list(range(20))


def test_what_cannot_be_is_refused() -> None:
    labels, percent, second = case()
    with pytest.raises(InputError, match="one grid"):
        measure_slices(labels, SPACING, percent[1:])
    with pytest.raises(InputError, match="whole percent"):
        measure_slices(labels, SPACING, percent / np.float32(100))
    with pytest.raises(InputError, match="needs the first"):
        measure_slices(labels, SPACING, second=second)
    for spacing in (SPACING[1:], (0.0, 1.0, 1.0), (math.nan, 1.0, 1.0)):
        with pytest.raises(InputError, match="spacing"):
            measure_slices(labels, spacing)
    for array, spacing, axis in ((labels, SPACING, 3), (labels[0], SPACING[1:], 1), (labels[None], (1.0, *SPACING), 0)):
        with pytest.raises(InputError, match="no slices along axis"):
            measure_slices(array, spacing, axis=axis)
    for slices in ([7], [-1]):
        with pytest.raises(InputError, match="0 to 6"):
            measure_slices(labels, SPACING, slices=slices)
    for weight in (-1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="weight of jump"):
            Weights(jump=weight)
    score = SliceMeasures(np.ones(3)).expected_error_mm2()
    for step, apart in ((0.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.inf)):
        with pytest.raises(InputError, match="apart"):
            next_slice(score, (), step, apart)
    with pytest.raises(InputError, match="0 to 2"):
        rank(score, {3}, 1.0)
