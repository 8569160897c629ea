import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from napari_lungseg.errors import InputError
from napari_lungseg.metrics import evaluate
from napari_lungseg.volume import Volume, scaling

SPACING = (2.5, 0.7, 0.9)


def blobs(seed: int, shape: tuple[int, ...] = (9, 14, 17)) -> npt.NDArray[np.uint8]:
    """Random connected-looking labels 0, 1, 2."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return np.where(noise > 0.05, 1 + (np.arange(shape[-1]) >= shape[-1] // 2), 0).astype(np.uint8)


def volume(array: npt.NDArray[np.generic], spacing: tuple[float, ...] = SPACING) -> Volume:
    return Volume(array, scaling(spacing[-array.ndim :], (10.0, -20.0, 30.0)))


def brute_force(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> tuple[float, float]:
    """HD95 and ASSD from the distances of all pairs of surface voxels."""
    points = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing for mask in (one, other)]
    pairs = cdist(*points)
    there, back = pairs.min(1), pairs.min(0)
    return max(np.percentile(there, 95), np.percentile(back, 95)), float(np.concatenate([there, back]).mean())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(9, 14, 17), (14, 17)])
def test_scores_equal_a_direct_computation(seed: int, shape: tuple[int, ...]) -> None:
    predicted, expected = blobs(seed, shape), blobs(seed, shape)
    expected = np.roll(expected, 1, axis=-1)
    expected[..., 3, :] = 0
    spacing = SPACING[-len(shape) :]
    scores = evaluate(volume(predicted), volume(expected))
    assert list(scores) == ["lungs", "right", "left"]
    for name, one, other in (
        ("lungs", predicted > 0, expected > 0),
        ("right", predicted == 1, expected == 1),
        ("left", predicted == 2, expected == 2),
    ):
        true, false, missed = (one & other).sum(), (one & ~other).sum(), (other & ~one).sum()
        score = scores[name]
        assert score.dice == pytest.approx(2 * true / (2 * true + false + missed))
        assert score.iou == pytest.approx(true / (true + false + missed))
        assert score.precision == pytest.approx(true / (true + false))
        assert score.recall == pytest.approx(true / (true + missed))
        hd95, assd = brute_force(one, other, spacing)
        assert score.hd95_mm == pytest.approx(hd95, rel=1e-5)
        assert score.assd_mm == pytest.approx(assd, rel=1e-5)
        voxel_ml = np.prod(spacing) / 1000
        assert score.volume_ml == pytest.approx(one.sum() * voxel_ml)
        assert score.reference_ml == pytest.approx(other.sum() * voxel_ml)
        assert score.volume_error_ml == pytest.approx((float(false) - float(missed)) * voxel_ml)


def test_a_perfect_mask_scores_perfectly() -> None:
    for score in evaluate(volume(blobs(0)), volume(blobs(0))).values():
        assert (score.dice, score.iou, score.precision, score.recall) == (1, 1, 1, 1)
        assert (score.hd95_mm, score.assd_mm, score.volume_error_ml) == (0, 0, 0)


def test_a_shift_is_measured_in_millimetres_along_its_axis() -> None:
    cube = np.zeros((20, 20, 20), np.uint8)
    cube[8:12, 8:12, 8:12] = 1
    far = np.zeros_like(cube)
    far[8, 8, 8] = 1
    for axis, step in enumerate(SPACING):
        assert evaluate(volume(np.roll(far, 5, axis)), volume(far))["lungs"].hd95_mm == pytest.approx(5 * step)
        assert evaluate(volume(np.roll(cube, 1, axis)), volume(cube))["lungs"].hd95_mm == pytest.approx(step)


def test_a_mask_on_one_slice_of_a_volume_is_surface_all_over() -> None:
    reference, predicted = np.zeros((2, 5, 12, 12), np.uint8)
    reference[2, 2:10, 2:10] = 1
    predicted[2, 2:9, 2:10] = 1
    one, other = predicted > 0, reference > 0
    score = evaluate(volume(predicted), volume(reference))["lungs"]
    assert (score.hd95_mm, score.assd_mm) == pytest.approx(brute_force(one, other, SPACING))


def test_a_stack_of_one_slice_scores_as_the_slice() -> None:
    one, other = blobs(1, (14, 17)), blobs(2, (14, 17))
    flat = evaluate(volume(one), volume(other))["lungs"]
    stack = evaluate(volume(one[None], (1.0, *SPACING[1:])), volume(other[None], (1.0, *SPACING[1:])))["lungs"]
    assert flat == stack


def test_sides_are_scored_only_where_the_reference_tells_them_apart() -> None:
    assert list(evaluate(volume(blobs(0)), volume((blobs(0) > 0).astype(np.uint8)))) == ["lungs"]
    unsplit = evaluate(volume((blobs(0) > 0).astype(np.uint8)), volume(blobs(0)))
    assert unsplit["lungs"].dice == 1
    assert unsplit["left"].dice == 0
    assert unsplit["left"].hd95_mm == math.inf


def test_empty_masks_are_scored_by_the_stated_rules() -> None:
    empty, full = volume(np.zeros((9, 14, 17), np.uint8)), volume(blobs(0))
    both = evaluate(empty, empty)["lungs"]
    assert (both.dice, both.iou, both.precision, both.recall, both.hd95_mm, both.assd_mm) == (1, 1, 1, 1, 0, 0)
    for predicted, expected, sign in ((empty, full, -1), (full, empty, 1)):
        score = evaluate(predicted, expected)["lungs"]
        assert (score.dice, score.iou, score.precision, score.recall) == (0, 0, 0, 0)
        assert score.hd95_mm == score.assd_mm == math.inf
        assert math.copysign(1, score.volume_error_ml) == sign


def test_the_same_grid_stored_another_way_round_is_brought_together() -> None:
    reference = volume(blobs(0))
    turn = np.eye(4)[[1, 0, 2, 3]]
    turn[2, 2], turn[2, 3] = -1, reference.shape[2] - 1
    stored = Volume(np.flip(reference.array.transpose(1, 0, 2), 2), reference.affine @ turn)
    assert evaluate(stored, reference)["lungs"].dice == 1
    assert evaluate(stored, reference)["left"].dice == 1


def test_rounding_of_the_geometry_in_files_is_no_difference() -> None:
    reference = volume(blobs(0))
    rounded = Volume(reference.array, reference.affine.astype(np.float32) + 1e-4)
    assert evaluate(rounded, reference)["lungs"].dice == 1


def test_without_a_physical_size_only_the_shape_must_agree() -> None:
    reference = volume(blobs(0, (14, 17)))
    plain = Volume(reference.array, scaling((1.0, 1.0)), spacing_known=False)
    score = evaluate(plain, reference)["lungs"]
    assert score.dice == 1
    assert score.volume_ml == pytest.approx(evaluate(reference, reference)["lungs"].volume_ml)
    assert evaluate(reference, plain)["lungs"].volume_ml == score.volume_ml


def tilted(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    angle = np.radians(5)
    tilt = np.eye(4)
    tilt[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return tilt @ affine


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (volume(blobs(0)[1:]), r"shape \(9, 14, 17\) against \(8, 14, 17\)"),
        (volume(blobs(0), (5.0, 0.7, 0.9)), "spacing 2.5 x 0.7 x 0.9 mm against 5 x 0.7 x 0.9 mm"),
        (Volume(blobs(0), scaling(SPACING, (10.0, -20.0, 32.5))), "2.5 mm apart"),
        (Volume(blobs(0), tilted(volume(blobs(0)).affine)), "turned"),
    ],
)
def test_different_grids_are_refused_with_the_difference(other: Volume, difference: str) -> None:
    with pytest.raises(InputError, match=difference):
        evaluate(volume(blobs(0)), other)
