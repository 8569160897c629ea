import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from napari_lungseg.edit import grow, shrink
from napari_lungseg.errors import InputError

masks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=7), elements=st.integers(0, 1))
distances = st.floats(3.1, 7.0)
SPACING = (3.1, 1.0, 0.7)


def near(mask: np.ndarray, mm: float) -> np.ndarray:
    """All voxels whose centre is not further than ``mm`` from one of the mask's, by the distances of all pairs."""
    steps = SPACING[-mask.ndim :]
    every = np.argwhere(np.ones(mask.shape)) * steps
    return (cdist(every, np.argwhere(mask) * steps).min(axis=1, initial=np.inf) <= mm + 1e-4).reshape(mask.shape)


@settings(deadline=None)
@given(masks, distances)
def test_it_grows_and_shrinks_by_millimetres(labels: np.ndarray, mm: float) -> None:
    assume(labels.any())
    spacing = SPACING[-labels.ndim :]
    assert np.array_equal(grow(labels, 1, mm, spacing) == 1, near(labels == 1, mm))
    assert np.array_equal(shrink(labels, 1, mm, spacing) == 1, ~near(labels == 0, mm))


@settings(deadline=None)
@given(masks, distances)
def test_shrinking_what_has_grown_gives_at_least_the_label_back(labels: np.ndarray, mm: float) -> None:
    assume(labels.any())
    spacing = SPACING[-labels.ndim :]
    back = shrink(grow(labels, 1, mm, spacing), 1, mm, spacing)
    assert (back >= labels).all()


def test_a_distance_of_whole_voxels_reaches_the_last_of_them() -> None:
    # In floating point, 3 x 0.1 is more than 0.3, and 0.3 / 0.1 less than 3.
    labels = np.zeros((41, 41), np.uint8)
    labels[20, 20] = 1
    grown = grow(labels, 1, 0.3, (0.1, 0.05))
    assert np.flatnonzero(grown[:, 20]).tolist() == list(range(17, 24))
    assert np.flatnonzero(grown[20]).tolist() == list(range(14, 27))


def test_a_label_grows_around_others_and_shrinks_from_them() -> None:
    labels = np.zeros((9, 30), np.uint8)
    labels[:, 5:15] = 1
    labels[:, 15:20] = 2
    grown = grow(labels, 1, 2.0, (1.0, 1.0))
    assert (grown[0] == 1).nonzero()[0].tolist() == list(range(3, 15))
    shrunk = shrink(labels, 1, 2.0, (1.0, 1.0))
    assert (shrunk[0] == 1).nonzero()[0].tolist() == list(range(7, 13))
    for result in (grown, shrunk):
        assert np.array_equal(result == 2, labels == 2)


def test_a_label_keeps_its_width_at_the_edge_of_the_image() -> None:
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[:, :10] = 1
    shrunk = shrink(labels, 1, 4.0, (1.0, 2.0, 2.0))
    assert (shrunk[:, :8] == 1).all()
    assert not shrunk[:, 8:].any()


def test_large_labels_are_treated_as_small_ones() -> None:
    # More than one tile; a ball, so that what it should become is known.
    z, y, x = (np.indices((120, 130, 140)).T - (60, 65, 70)).T * 1.0
    distance = np.sqrt((2 * z) ** 2 + y**2 + x**2)
    labels = (distance < 50).astype(np.uint8)
    grown, shrunk = grow(labels, 1, 10.0, (2.0, 1.0, 1.0)), shrink(labels, 1, 10.0, (2.0, 1.0, 1.0))
    assert not (grown != (distance < 60))[np.abs(distance - 60) > 1].any()
    assert not (shrunk != (distance < 40))[np.abs(distance - 40) > 1].any()


@pytest.mark.parametrize("mm", [0.0, -3.0, 0.6, float("nan"), float("inf")])
def test_a_distance_that_reaches_nothing_is_refused(mm: float) -> None:
    labels = np.ones((5, 5), np.uint8)
    for tool in (grow, shrink):
        with pytest.raises(InputError, match=r"do not reach the next voxel; give at least 0\.7 mm"):
            tool(labels, 1, mm, (1.0, 0.7))
