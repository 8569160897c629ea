import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_lungseg.edit import Limits, allowed, restrict
from napari_lungseg.errors import InputError

IMAGE = np.array([[-1000, -900, -500, 40, 3000]], np.int16)
LABELS = np.array([[0, 1, 1, 2, 1]], np.uint8)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), [1, 1, 1, 1, 1]),
        (Limits(low=-900), [0, 1, 1, 1, 1]),
        (Limits(high=-500), [1, 1, 1, 0, 0]),
        (Limits(-900, 40), [0, 1, 1, 1, 0]),
        (Limits(inside_label=1), [0, 1, 1, 0, 1]),
        (Limits(inside_label=0), [1, 0, 0, 0, 0]),
        (Limits(-600, 100, 1), [0, 0, 1, 0, 0]),
    ],
)
def test_edits_are_allowed_within_the_range_and_the_label(limits: Limits, expected: list[int]) -> None:
    assert allowed(limits, IMAGE, LABELS).tolist() == [[bool(one) for one in expected]]


def test_the_image_is_needed_only_for_an_intensity_range() -> None:
    assert allowed(Limits(inside_label=2), None, LABELS).sum() == 1
    with pytest.raises(InputError, match="there is no image"):
        allowed(Limits(low=0), None, LABELS)
    with pytest.raises(InputError, match="one grid"):
        allowed(Limits(low=0), IMAGE[:, 1:], LABELS)


def test_what_is_no_number_is_not_in_any_range() -> None:
    image = np.array([[np.nan, 0.0]])
    for limits in (Limits(low=-1e9), Limits(high=1e9)):
        assert allowed(limits, image, np.zeros((1, 2), int)).tolist() == [[False, True]]


@pytest.mark.parametrize("wrong", [{"low": 5, "high": 4}, {"low": float("nan")}, {"inside_label": -1}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="lies"):
        Limits(**wrong)


three_alike = hnp.array_shapes(min_dims=2, max_dims=3, max_side=5).flatmap(
    lambda shape: st.tuples(*(hnp.arrays(dtype, shape) for dtype in (np.uint8, np.uint8, np.bool_)))
)


@settings(deadline=None)
@given(three_alike)
def test_an_edit_never_changes_a_voxel_that_is_not_allowed(arrays: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    before, after, where = arrays
    result = restrict(before, after, where)
    assert np.array_equal(result[~where], before[~where])
    assert np.array_equal(result[where], after[where])
    assert result.dtype == before.dtype


def test_an_edit_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="one grid"):
        restrict(LABELS, LABELS[:, :2], np.ones(LABELS.shape, bool))
    with pytest.raises(InputError, match="one grid"):
        restrict(LABELS, LABELS, np.ones((1, 2), bool))
