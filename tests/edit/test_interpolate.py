import numpy as np
import numpy.typing as npt
import pytest

from napari_lungseg.edit import fill_between
from napari_lungseg.errors import InputError

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
SPACING = (4.0, 1.0, 0.5)
PLANE = (60, 160)


def disc(row: float, column: float, radius: float) -> Mask:
    """A disc on a plane of 1 x 0.5 mm pixels, all in mm."""
    y, x = np.indices(PLANE)
    return np.hypot(y - row, x * 0.5 - column) < radius


def volume(drawn: dict[int, Mask], slices: int = 11, label: int = 1) -> Labels:
    labels = np.zeros((slices, *PLANE), np.uint8)
    for index, mask in drawn.items():
        labels[index][mask] = label
    return labels


def centre(mask: Mask) -> npt.NDArray[np.float64]:
    """In mm."""
    return np.argwhere(mask).mean(axis=0) * (1.0, 0.5)


def dice(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_cone_is_recovered_from_two_of_its_slices() -> None:
    filled = fill_between(volume({0: disc(30, 40, 25), 10: disc(30, 40, 5)}), 1, 0, SPACING)
    for index in range(11):
        assert dice(filled[index] == 1, disc(30, 40, 25 - 2 * index)) > 0.97


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_fills_along_any_axis(axis: int) -> None:
    labels = volume({2: disc(30, 40, 20), 8: disc(30, 45, 10)})
    expected = np.moveaxis(fill_between(labels, 1, 0, SPACING), 0, axis)
    spacing = list(SPACING[1:])
    spacing.insert(axis, SPACING[0])
    assert np.array_equal(fill_between(np.moveaxis(labels, 0, axis), 1, axis, tuple(spacing)), expected)


def test_drawn_slices_stay_and_nothing_is_added_beyond_them() -> None:
    labels = volume({2: disc(30, 40, 20), 5: disc(30, 45, 10), 8: disc(30, 20, 10) | disc(30, 60, 10)})
    filled = fill_between(labels, 1, 0, SPACING)
    for index in (2, 5, 8):
        assert np.array_equal(filled[index], labels[index])
    assert not filled[:2].any()
    assert not filled[9:].any()
    assert all(filled[index].any() for index in range(2, 9))


def test_gaps_of_any_length_are_filled_in_proportion_to_the_position() -> None:
    labels = volume({0: disc(30, 40, 5), 2: disc(30, 40, 9), 3: disc(30, 40, 11), 10: disc(30, 40, 25)})
    filled = fill_between(labels, 1, 0, SPACING)
    for index in range(11):
        assert dice(filled[index] == 1, disc(30, 40, 5 + 2 * index)) > 0.96


def test_distances_are_in_millimetres() -> None:
    # With pixels taken for squares, the outline halfway between a disc and a bar would lie elsewhere.
    bar = np.zeros(PLANE, bool)
    bar[28:33, 10:150] = True
    labels = volume({0: disc(30, 40, 20), 10: bar})
    halfway = fill_between(labels, 1, 0, SPACING)[5] == 1
    fine = fill_between(np.repeat(labels, 2, axis=1), 1, 0, (4.0, 0.5, 0.5))[5] == 1
    assert dice(np.repeat(halfway, 2, axis=0), fine) > 0.98
    wrong = fill_between(labels, 1, 0, (4.0, 1.0, 1.0))[5] == 1
    assert dice(halfway, wrong) < 0.96


def test_a_shape_that_moves_away_is_moved_along() -> None:
    labels = volume({0: disc(12, 12, 8), 10: disc(45, 66, 8)})
    filled = fill_between(labels, 1, 0, SPACING)
    for index in range(11):
        expected = 12 + 3.3 * index, 12 + 5.4 * index
        assert centre(filled[index] == 1) == pytest.approx(expected, abs=0.5)
        assert dice(filled[index] == 1, disc(*expected, 8)) > 0.93


def test_a_shape_that_moves_by_most_of_its_width_keeps_its_size() -> None:
    labels = volume({0: disc(30, 30, 10), 10: disc(30, 44, 10)})
    filled = fill_between(labels, 1, 0, SPACING)
    assert all(dice(filled[index] == 1, disc(30, 30 + 1.4 * index, 10)) > 0.95 for index in range(11))


def test_a_shape_may_grow_and_come_from_the_edge_of_the_plane() -> None:
    labels = volume({0: disc(5, 5, 9), 10: disc(50, 70, 14)})
    filled = fill_between(labels, 1, 0, SPACING)
    areas = filled.sum(axis=(1, 2))
    assert (np.diff(areas.astype(int)) > 0).all()


def test_one_that_divides_follows_both_and_two_that_meet_become_one() -> None:
    labels = volume({0: disc(30, 40, 10), 10: disc(30, 22, 7) | disc(30, 58, 7)})
    for filled in (fill_between(labels, 1, 0, SPACING), fill_between(labels[::-1], 1, 0, SPACING)[::-1]):
        for index in range(1, 10):
            left, right = filled[index][:, :80] == 1, filled[index][:, 80:] == 1
            assert dice(left, right[:, ::-1]) > 0.95
            reached = 1.8 * index
            assert filled[index][30, round(2 * (40 - reached))] == 1
            assert filled[index][30, round(2 * (40 + reached))] == 1
        assert filled[2][30, 80] == 1
        assert filled[8][30, 80] == 0


def test_each_of_several_parts_is_followed() -> None:
    labels = volume({0: disc(15, 15, 9) | disc(30, 60, 12), 10: disc(35, 28, 9) | disc(32, 62, 9)})
    for index in range(11):
        expected = disc(15 + 2 * index, 15 + 1.3 * index, 9) | disc(30 + 0.2 * index, 60 + 0.2 * index, 12 - 0.3 * index)
        assert dice(fill_between(labels, 1, 0, SPACING)[index] == 1, expected) > 0.93


def test_a_part_that_faces_nothing_ends_halfway_and_leaves_the_others_alone() -> None:
    labels = volume({0: disc(30, 20, 15) | disc(30, 65, 10), 10: disc(30, 20, 15)})
    for filled in (fill_between(labels, 1, 0, SPACING), fill_between(labels[::-1], 1, 0, SPACING)[::-1]):
        areas = filled[:, :, 90:].sum(axis=(1, 2)).astype(int)
        assert (np.diff(areas) <= 0).all()
        assert areas[3] > 0
        assert not areas[5:].any()
        assert all(np.array_equal(filled[index][:, :80] == 1, disc(30, 20, 15)[:, :80]) for index in range(11))


def test_far_crumbs_are_not_taken_for_one_that_moved() -> None:
    labels = volume({0: disc(30, 40, 10) | disc(5, 5, 2), 10: disc(30, 40, 10) | disc(5, 75, 2)})
    filled = fill_between(labels, 1, 0, SPACING)
    assert np.array_equal(filled[5] == 1, disc(30, 40, 10))


def test_other_labels_are_filled_around() -> None:
    labels = volume({0: disc(30, 40, 20), 10: disc(30, 40, 20)})
    labels[4:7, 20:40, 70:90] = 3
    filled = fill_between(labels, 1, 0, SPACING)
    assert np.array_equal(filled == 3, labels == 3)
    assert np.array_equal(filled[5] == 1, disc(30, 40, 20) & (labels[5] == 0))


def test_between_chosen_slices_the_label_is_replaced() -> None:
    labels = volume({index: disc(10, 10, 9) for index in range(11)})
    labels[[0, 10]] = 0
    labels[0][disc(30, 40, 20)] = labels[10][disc(30, 40, 20)] = 1
    filled = fill_between(labels, 1, 0, SPACING, slices=[10, 0])
    assert all(np.array_equal(filled[index] == 1, disc(30, 40, 20)) for index in range(11))
    to_the_end = fill_between(labels, 1, 0, SPACING, slices=[0, 5, 10])
    assert np.array_equal(to_the_end[5], labels[5])


def test_a_chosen_slice_without_the_label_ends_it() -> None:
    labels = volume({0: disc(30, 40, 20)})
    filled = fill_between(labels, 1, 0, SPACING, slices=[0, 10])
    assert filled[3].any()
    assert not filled[5:].any()


def test_what_cannot_be_filled_is_refused() -> None:
    drawn = disc(30, 40, 20)
    for labels in (volume({}), volume({3: drawn}), volume({3: drawn, 4: drawn, 5: drawn}), volume({0: drawn, 9: drawn}, label=2)):
        with pytest.raises(InputError, match="draw label 1 on at least two slices that have others between them"):
            fill_between(labels, 1, 0, SPACING)
    labels = volume({0: drawn, 10: drawn})
    for slices in ([], [3], [3, 4], [3, 7]):
        with pytest.raises(InputError, match="draw label 1 on at least two"):
            fill_between(labels, 1, 0, SPACING, slices=slices)
    for slices in ([-1, 5], [5, 11]):
        with pytest.raises(InputError, match="do not all lie in the volume"):
            fill_between(labels, 1, 0, SPACING, slices=slices)
    with pytest.raises(InputError, match="needs a volume"):
        fill_between(labels[0], 1, 0, SPACING[1:])
    with pytest.raises(InputError, match="axes 0, 1 and 2"):
        fill_between(labels, 1, 3, SPACING)
