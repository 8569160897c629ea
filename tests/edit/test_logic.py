import numpy as np
import numpy.typing as npt
import pytest
from phantom import chest

from napari_lungseg.edit import combine, copy_slice, crop_to_box, split_left_right
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume

Labels = npt.NDArray[np.uint8]


def stack() -> Labels:
    """Slice 1 has the labels 1 and 2, slice 2 others."""
    labels = np.zeros((3, 2, 4), np.uint8)
    labels[1] = [[1, 1, 2, 0], [1, 1, 0, 0]]
    labels[2] = [[0, 3, 1, 1], [0, 0, 1, 2]]
    return labels


def test_a_label_is_copied_to_another_slice_around_other_labels() -> None:
    copied = copy_slice(stack(), 0, 1, 2, label=1)
    assert copied[2].tolist() == [[1, 3, 0, 0], [1, 1, 0, 2]]
    assert np.array_equal(copied[:2], stack()[:2])


def test_a_whole_slice_is_copied() -> None:
    copied = copy_slice(stack(), 0, 2, 0)
    assert np.array_equal(copied[0], stack()[2])
    assert np.array_equal(copied[1:], stack()[1:])


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("label", [None, 1])
def test_slices_are_copied_along_any_axis(axis: int, label: int | None) -> None:
    expected = np.moveaxis(copy_slice(stack(), 0, 1, 2, label), 0, axis)
    assert np.array_equal(copy_slice(np.moveaxis(stack(), 0, axis), axis, 1, 2, label), expected)


def test_slices_that_cannot_be_copied_are_refused() -> None:
    for source, target in ((1, 1), (-1, 1), (1, 3)):
        with pytest.raises(InputError, match="choose two different ones from 0 to 2"):
            copy_slice(stack(), 0, source, target)
    with pytest.raises(InputError, match="There is no label on slice 0"):
        copy_slice(stack(), 0, 0, 1)
    with pytest.raises(InputError, match="There is no label 3 on slice 1"):
        copy_slice(stack(), 0, 1, 2, label=3)
    with pytest.raises(InputError, match="needs a volume"):
        copy_slice(stack()[0], 0, 0, 1)


def test_lungs_are_told_apart_by_the_patients_geometry() -> None:
    image, lungs = chest()
    columns = np.indices(lungs.shape)[2]
    expected = np.where(lungs, np.where(columns < lungs.shape[2] // 2, 1, 2), 0)
    labels = Volume(lungs.astype(np.uint8) * 4, image.affine)
    assert np.array_equal(split_left_right(labels), expected)
    mirror = np.eye(4)
    mirror[2, 2], mirror[2, 3] = -1, lungs.shape[2] - 1
    mirrored = Volume(np.ascontiguousarray(labels.array[:, :, ::-1]), image.affine @ mirror)
    assert np.array_equal(split_left_right(mirrored), expected[:, :, ::-1])
    one_slice = Volume(labels.array[4], image.affine)
    assert np.array_equal(split_left_right(one_slice), expected[4])


def test_only_the_given_label_is_split_and_every_piece_of_it() -> None:
    image, lungs = chest()
    labels = lungs.astype(np.uint16) * 4
    labels[4, 30:34, 15:20] = 300
    labels[0, 0, 0] = 4
    split = split_left_right(Volume(labels, image.affine), label=4)
    assert np.array_equal(split == 300, labels == 300)
    assert np.isin(split[labels == 4], (1, 2)).all()
    assert not split[labels == 0].any()
    with pytest.raises(InputError, match="no label to split"):
        split_left_right(Volume(np.zeros_like(labels), image.affine))


FIRST = np.array([[0, 0, 1, 1, 2, 2]], np.uint8)
SECOND = np.array([[0, 1, 0, 1, 0, 1]], np.int32)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("union", [0, 1, 1, 1, 2, 2]),
        ("intersection", [0, 0, 0, 1, 2, 2]),
        ("difference", [0, 0, 1, 0, 2, 2]),
        ("xor", [0, 1, 1, 0, 2, 2]),
    ],
)
def test_a_label_is_combined_with_that_of_another_array(how: str, expected: list[int]) -> None:
    combined = combine(FIRST, SECOND, how, 1)
    assert combined.tolist() == [expected]
    assert combined.dtype == np.uint8


def test_a_label_that_is_new_can_be_taken_over() -> None:
    assert combine(FIRST, SECOND * 7, "union", 7).tolist() == [[0, 7, 1, 1, 2, 2]]


def test_what_cannot_be_combined_is_refused() -> None:
    with pytest.raises(InputError, match=r"shapes \(1, 6\) and \(1, 5\) do not lie on one grid"):
        combine(FIRST, SECOND[:, 1:], "union", 1)
    with pytest.raises(InputError, match="no operation called 'nand'"):
        combine(FIRST, SECOND, "nand", 1)
    with pytest.raises(InputError, match="no label that uint8 can hold"):
        combine(FIRST, SECOND, "union", 1000)


def test_labels_are_cropped_to_a_box() -> None:
    box = (slice(0, 1), slice(2, 5))
    labels = np.concatenate([FIRST, FIRST])
    assert crop_to_box(labels, box).tolist() == [[0, 0, 1, 1, 2, 0], [0] * 6]
    assert crop_to_box(labels, box, label=2).tolist() == [[0, 0, 1, 1, 2, 0], [0, 0, 1, 1, 0, 0]]
    assert np.array_equal(crop_to_box(labels, (slice(-3, 9), slice(-1, 60))), labels)


@pytest.mark.parametrize("box", [(slice(0, 1), slice(6, 9)), (slice(1, 1), slice(0, 6)), (slice(-5, -2), slice(0, 6))])
def test_a_box_beside_the_image_is_refused(box: tuple[slice, ...]) -> None:
    with pytest.raises(InputError, match="The box lies outside the image"):
        crop_to_box(FIRST, box)
    with pytest.raises(InputError, match="box of 1 axes"):
        crop_to_box(FIRST, box[:1])
