import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_lungseg.edit import fill_holes, region, smooth, smooth_joint
from napari_lungseg.errors import InputError

Labels = npt.NDArray[np.uint8]
METHODS = ("median", "opening", "closing", "gaussian")


def disc(shape: tuple[int, int], row: float, column: float, radius: float) -> npt.NDArray[np.bool_]:
    y, x = np.indices(shape)
    return np.hypot(y - row, x - column) < radius


def rough(seed: int = 0) -> Labels:
    """A disc with a thin whisker, a thin notch and specks on both sides of its outline."""
    labels = disc((120, 120), 60, 60, 30).astype(np.uint8)
    labels[59:61, 88:110] = 1
    labels[59:61, 30:50] = 0
    near_rim = disc((120, 120), 60, 60, 33) & ~disc((120, 120), 60, 60, 27)
    flip = near_rim & (np.random.default_rng(seed).random(labels.shape) < 0.1)
    labels[flip] = 1 - labels[flip]
    return labels


def test_enclosed_background_is_filled_but_no_bay() -> None:
    labels = np.zeros((12, 12), np.uint8)
    labels[2:9, 2:9] = 1
    labels[4:6, 4:6] = 0
    labels[6, 7:9] = 0
    labels[7, 4] = 3
    filled = fill_holes(labels, 1)
    assert (filled[4:6, 4:6] == 1).all()
    assert not filled[6, 7:9].any()
    assert filled[7, 4] == 3
    assert np.count_nonzero(filled != labels) == 4


def test_a_tunnel_is_a_hole_on_the_slice_but_not_in_the_volume() -> None:
    labels = np.zeros((8, 9, 9), np.uint8)
    labels[:, 1:8, 1:8] = 1
    labels[:, 4, 4] = 0
    labels[3, 2, 2] = 0
    filled = fill_holes(labels, 1)
    assert filled[3, 2, 2] == 1
    assert not filled[:, 4, 4].any()
    assert fill_holes(labels[3], 1)[4, 4] == 1


@pytest.mark.parametrize("method", ["median", "opening", "gaussian"])
def test_thin_whiskers_and_specks_go(method: str) -> None:
    smoothed = smooth(rough(), 1, method, 3.0, (1.0, 1.0))
    assert not smoothed[59:61, 95:].any()
    assert not smoothed[~disc((120, 120), 60, 60, 36)].any()


@pytest.mark.parametrize("method", ["median", "closing", "gaussian"])
def test_thin_notches_are_filled(method: str) -> None:
    assert smooth(rough(), 1, method, 3.0, (1.0, 1.0))[59:61, 36:50].all()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_smooth_stays(method: str) -> None:
    labels = disc((120, 120), 60, 60, 30).astype(np.uint8)
    changed = smooth(labels, 1, method, 3.0, (1.0, 1.0)) != labels
    assert changed.sum() < 0.02 * labels.sum()
    assert not changed[np.abs(np.hypot(*(np.indices(labels.shape).T - 60).T) - 30) > 1.5].any()


@pytest.mark.parametrize("method", METHODS)
def test_smoothing_reaches_as_far_in_millimetres_along_every_axis(method: str) -> None:
    # The same thing on pixels of 1 x 1 mm and, every third row of it, of 3 x 1 mm.
    fine = np.zeros((121, 121), np.uint8)
    fine[31:91, 31:91] = 1
    fine[31:91, 58:61] = 0
    fine[58:61, 91:110] = 1
    coarse = np.ascontiguousarray(fine[1::3])
    expected = smooth(fine, 1, method, 4.0, (1.0, 1.0))[1::3]
    got = smooth(coarse, 1, method, 4.0, (3.0, 1.0))
    assert (got != expected).sum() < 0.02 * expected.sum()
    assert got[15, 59] == (method != "opening")
    assert (got[19, 100] == 0) == (method != "closing")


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=8), elements=st.integers(0, 1)))
def test_median_is_the_majority_in_the_ball(labels: Labels) -> None:
    labels.flat[0] = 1
    spacing = (2.0, 1.0, 0.8)[-labels.ndim :]
    margins = [int(2.1 / step) for step in spacing]
    away = np.stack(np.meshgrid(*(np.arange(-margin, margin + 1) for margin in margins), indexing="ij"), axis=-1) * spacing
    element = np.linalg.norm(away, axis=-1) <= 2.1
    padded = np.pad(labels, [(margin, margin) for margin in margins], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, element.shape)
    majority = windows[..., element].sum(axis=-1) * 2 > element.sum()
    assert np.array_equal(smooth(labels, 1, "median", 2.1, spacing) == 1, majority)


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9), elements=st.integers(0, 1)))
def test_opening_only_removes_closing_only_adds_and_both_do_it_once(labels: Labels) -> None:
    labels.flat[0] = 1
    spacing = (2.0, 1.0, 0.8)[-labels.ndim :]
    for array in (labels, np.pad(labels, 4)):
        closed, opened = smooth(array, 1, "closing", 2.1, spacing), smooth(array, 1, "opening", 2.1, spacing)
        assert (opened <= array).all()
        assert (array <= closed).all()
    # Away from the edge, beyond which what comes out goes on otherwise than what went in.
    assert np.array_equal(smooth(closed, 1, "closing", 2.1, spacing), closed)
    if opened.any():
        assert np.array_equal(smooth(opened, 1, "opening", 2.1, spacing), opened)


def test_closing_does_not_stick_to_the_edge_of_the_image() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[3:20, 10:30] = 1
    assert np.array_equal(smooth(labels, 1, "closing", 6.0, (1.0, 1.0)), labels)


@pytest.mark.parametrize("method", METHODS)
def test_a_lung_that_goes_on_beyond_the_volume_is_not_rounded_off_there(method: str) -> None:
    labels = np.repeat(disc((60, 60), 30, 30, 20)[None], 3, axis=0).astype(np.uint8)
    smoothed = smooth(labels, 1, method, 5.0, (2.0, 1.0, 1.0))
    assert (smoothed[:, disc((60, 60), 30, 30, 18)] == 1).all()
    assert np.array_equal(smoothed[0], smoothed[1])


@pytest.mark.parametrize("method", [*METHODS, "joint"])
def test_large_volumes_are_smoothed_without_seams(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((60, 90, 90)), 1.5)
    labels = np.digitize(noise, [0, 0.1]).astype(np.uint8)

    def smoothed(tile: int) -> Labels:
        monkeypatch.setattr(region, "TILE_VOXELS", tile)
        if method == "joint":
            return smooth_joint(labels, 1.0, (2.0, 1.0, 1.0))
        return smooth(labels, 1, method, 2.0, (2.0, 1.0, 1.0))

    assert np.array_equal(smoothed(16**3), smoothed(10**9))


def test_settings_of_smoothing_that_make_no_sense_are_refused() -> None:
    labels = rough()
    with pytest.raises(InputError, match="no smoothing called 'mean'; choose median"):
        smooth(labels, 1, "mean", 3.0, (1.0, 1.0))
    for method in ("median", "opening", "closing"):
        with pytest.raises(InputError, match="do not reach the next voxel"):
            smooth(labels, 1, method, 0.5, (1.0, 1.0))
    for sigma in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="standard deviation must be above 0"):
            smooth(labels, 1, "gaussian", sigma, (1.0, 1.0))
        with pytest.raises(InputError, match="standard deviation must be above 0"):
            smooth_joint(labels, sigma, (1.0, 1.0))
    with pytest.raises(InputError, match="no labels to smooth"):
        smooth_joint(np.zeros_like(labels), 2.0, (1.0, 1.0))


def two_lungs() -> Labels:
    """Two labels with a jagged border between them and a jagged outline, and a third one apart."""
    rng = np.random.default_rng(1)
    labels = np.zeros((40, 100, 140), np.uint8)
    z, y, x = np.indices(labels.shape)
    body = ((2 * z - 40) / 36) ** 2 + ((y - 50) / 40) ** 2 + ((x - 60) / 50) ** 2 + rng.normal(0, 0.05, labels.shape) < 1
    border = 60 + rng.integers(-3, 4, labels.shape)
    labels[body & (x < border)] = 5
    labels[body & (x >= border)] = 2
    labels[15:25, 40:60, 120:138] = 9
    return labels


def test_all_labels_are_smoothed_without_gap_or_overlap_and_keep_their_volumes() -> None:
    labels = two_lungs()
    smoothed = smooth_joint(labels, 2.0, (2.0, 1.0, 1.0))
    assert set(np.unique(smoothed)) == {0, 2, 5, 9}
    # The small box (9) loses its edges and corners.
    for label, tolerance in ((2, 0.02), (5, 0.02), (9, 0.1)):
        assert (smoothed == label).sum() == pytest.approx((labels == label).sum(), rel=tolerance)
    inside = ((np.indices(labels.shape).T - (20, 50, 60)) / (18, 40, 50)).T
    assert (smoothed[(inside**2).sum(axis=0) < 0.7] > 0).all()

    def faces(array: Labels) -> int:
        """Faces between voxels of different labels."""
        return sum(int(np.count_nonzero(np.diff(array.astype(int), axis=axis))) for axis in range(3))

    assert faces(smoothed) < 0.5 * faces(labels)


def test_each_voxel_goes_to_the_label_that_is_strongest_after_blurring() -> None:
    labels, sigma = two_lungs(), (1.0, 2.0, 2.0)
    strength = [ndimage.gaussian_filter((labels == label).astype(float), sigma, mode="nearest") for label in (0, 2, 5, 9)]
    expected = np.array([0, 2, 5, 9])[np.argmax(strength, axis=0)]
    clear = np.diff(np.sort(strength, axis=0)[-2:], axis=0)[0] > 1e-4
    assert np.array_equal(smooth_joint(labels, 2.0, (2.0, 1.0, 1.0))[clear], expected[clear])


def test_smoothing_together_is_even_handed() -> None:
    labels = two_lungs()
    renamed = np.array([0, 0, 9, 0, 0, 2, 0, 0, 0, 5], np.uint8)
    spacing = (2.0, 1.0, 1.0)
    assert np.array_equal(smooth_joint(renamed[labels], 2.0, spacing), renamed[smooth_joint(labels, 2.0, spacing)])


def test_smoothing_one_label_by_itself_leaves_a_gap_where_two_touch() -> None:
    """Why there is a joint one."""
    labels = two_lungs()
    alone = labels
    for label in (2, 5):
        alone = smooth(alone, label, "gaussian", 2.0, (2.0, 1.0, 1.0))
    middle = (slice(13, 27), slice(35, 65), slice(56, 64))
    assert (alone[middle] == 0).any()
    assert (smooth_joint(labels, 2.0, (2.0, 1.0, 1.0))[middle] > 0).all()


def test_two_labels_that_meet_at_a_plane_keep_it() -> None:
    for size, axis in itertools.product((30, 31), (0, 1)):
        labels = np.ones((size, size), np.uint8)
        np.moveaxis(labels, axis, 0)[size // 2 :] = 2
        assert np.array_equal(smooth_joint(labels, 3.0, (1.0, 2.0)), labels)


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9), elements=st.integers(0, 1)))
def test_holes_are_what_has_no_way_to_the_edge(labels: Labels) -> None:
    labels.flat[0] = 1
    assert np.array_equal(fill_holes(labels, 1) == 1, ndimage.binary_fill_holes(labels == 1))
