import numpy as np
import pytest

from napari_lungseg.edit import keep_island, keep_largest, relabel_island, remove_island, remove_small, split_islands
from napari_lungseg.errors import InputError


@pytest.fixture(params=[2, 3])
def labels(request: pytest.FixtureRequest) -> np.ndarray:
    """Islands of label 2 with 12, 6 and 2 pixels, and one of label 1; as a slice, or as a volume of one."""
    plane = np.zeros((12, 12), np.uint8)
    plane[0:3, 0:4] = 2
    plane[5:7, 5:8] = 2
    plane[10, 10] = plane[11, 11] = 2  # touch at a corner only
    plane[0:3, 4:9] = 1
    return plane if request.param == 2 else plane[None]


def sizes(labels: np.ndarray) -> dict[int, int]:
    return {int(label): int((labels == label).sum()) for label in np.unique(labels) if label}


def at(labels: np.ndarray, row: int, column: int) -> tuple[int, ...]:
    return (0,) * (labels.ndim - 2) + (row, column)


def test_the_largest_islands_are_kept(labels: np.ndarray) -> None:
    assert [sizes(keep_largest(labels, 2, count)) for count in (1, 2, 3, 9)] == [{1: 15, 2: size} for size in (12, 18, 20, 20)]
    with pytest.raises(InputError, match="At least one island"):
        keep_largest(labels, 2, 0)


def test_the_island_under_the_cursor_is_kept_removed_or_relabelled(labels: np.ndarray) -> None:
    assert sizes(keep_island(labels, at(labels, 6, 6))) == {1: 15, 2: 6}
    assert sizes(remove_island(labels, at(labels, 6, 6))) == {1: 15, 2: 14}
    assert sizes(relabel_island(labels, at(labels, 10, 10), 7)) == {1: 15, 2: 18, 7: 2}
    assert sizes(relabel_island(labels, at(labels, 0, 0), 1)) == {1: 27, 2: 8}
    assert relabel_island(labels, at(labels, 10, 10), 7)[at(labels, 11, 11)] == 7


def test_voxels_of_a_volume_hang_together_at_corners() -> None:
    volume = np.zeros((3, 3, 3), np.uint8)
    volume[0, 0, 0] = volume[1, 1, 1] = 1
    assert sizes(remove_island(volume, (0, 0, 0))) == {}


@pytest.mark.parametrize("position", [(4, 4), (-1, 0), (0, 99)])
def test_nothing_under_the_cursor_is_refused(labels: np.ndarray, position: tuple[int, int]) -> None:
    for tool in (keep_island, remove_island, lambda *args: relabel_island(*args, 3)):
        with pytest.raises(InputError, match="no label under the cursor"):
            tool(labels, at(labels, *position))
    with pytest.raises(InputError, match="no label that uint8 can hold"):
        relabel_island(labels, at(labels, 0, 0), 256)
    with pytest.raises(InputError, match="no label under the cursor"):
        remove_island(labels, (0,))


def test_small_islands_are_removed_by_their_volume(labels: np.ndarray) -> None:
    spacing = (5.0, 2.0, 1.0)  # 10 mm³ a voxel
    assert sizes(remove_small(labels, 2, 0.02, spacing)) == {1: 15, 2: 20}
    assert sizes(remove_small(labels, 2, 0.021, spacing)) == {1: 15, 2: 18}
    assert sizes(remove_small(labels, 2, 0.1, spacing)) == {1: 15, 2: 12}
    assert sizes(remove_small(labels, 2, 1.0, spacing)) == {1: 15}
    with pytest.raises(InputError, match="spacing must be 3"):
        remove_small(labels, 2, 1.0, (1.0, 1.0))
    with pytest.raises(InputError, match="more than 0 mL"):
        remove_small(labels, 2, 0.0, spacing)


def test_islands_are_split_into_labels_from_large_to_small(labels: np.ndarray) -> None:
    labels[labels == 1] = 5
    split = split_islands(labels, 2)
    assert sizes(split) == {2: 12, 5: 15, 6: 6, 7: 2}
    assert split[at(labels, 6, 6)] == 6


def test_more_islands_than_the_labels_can_number_are_refused() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[::4, ::4] = 1
    with pytest.raises(InputError, match="625 islands, but uint8 has 254 free labels; remove small islands"):
        split_islands(labels, 1)
    assert split_islands(labels.astype(np.uint16), 1).max() == 625
    three = np.zeros((9, 9), np.uint8)
    three[0, 0] = three[4, 4] = three[8, 8] = 1
    three[0, 8] = 254
    with pytest.raises(InputError, match="3 islands, but uint8 has 1 free labels"):
        split_islands(three, 1)
