import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from geometry import grids, stored_otherwise
from scipy import ndimage
from scipy.spatial.distance import cdist

from napari_lungseg.errors import InputError
from napari_lungseg.metrics import disagreement, evaluate, evaluate_slices
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
    scores = evaluate(volume(predicted), volume(expected), names={1: "right", 2: "left"})
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
        assert score.volume_error_percent == pytest.approx(100 * (float(one.sum()) / float(other.sum()) - 1))
        assert score.specificity == pytest.approx(1 - false / (~other).sum())


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


@pytest.mark.parametrize(("shape", "away"), [((14, 40, 40), 2), ((40, 60), 5), ((40, 60, 60), 26), ((1, 130, 130), 95)])
def test_what_is_near_and_what_is_far_is_measured_alike(shape: tuple[int, ...], away: int) -> None:
    one, other = np.zeros((2, *shape), np.uint8)
    one[..., 3:8, 3:9] = other[..., 3:8, 4:9] = 1
    one[..., 30 : 30 + away, 2 : 2 + away : 2] = 1
    other[..., -1, -5:] = 1
    score = evaluate(volume(one), volume(other))["lungs"]
    assert score.hd95_mm > 15
    spacing = SPACING[-len(shape) :]
    expected = brute_force(one > 0, other > 0, spacing) if shape[0] > 1 else brute_force(one[0] > 0, other[0] > 0, spacing[1:])
    assert (score.hd95_mm, score.assd_mm) == pytest.approx(expected)


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
    assert unsplit["label 2"].dice == 0
    assert unsplit["label 2"].hd95_mm == math.inf


def test_empty_masks_are_scored_by_the_stated_rules() -> None:
    empty, full = volume(np.zeros((9, 14, 17), np.uint8)), volume(blobs(0))
    both = evaluate(empty, empty)["lungs"]
    assert (both.dice, both.f1, both.iou, both.precision, both.recall, both.nsd, both.specificity) == (1,) * 7
    assert (both.hd95_mm, both.assd_mm, both.volume_error_ml, both.volume_error_percent) == (0, 0, 0, 0)
    for predicted, expected, sign in ((empty, full, -1), (full, empty, 1)):
        score = evaluate(predicted, expected)["lungs"]
        assert (score.dice, score.f1, score.iou, score.precision, score.recall, score.nsd) == (0,) * 6
        assert score.volume_error_percent == (-100 if sign < 0 else math.inf)
        assert score.hd95_mm == score.assd_mm == math.inf
        assert math.copysign(1, score.volume_error_ml) == sign


def test_a_reference_that_fills_the_image_leaves_nothing_to_mark_wrongly() -> None:
    full = volume(np.ones((9, 14, 17), np.uint8))
    assert evaluate(full, full)["lungs"].specificity == 1


def test_a_distance_of_the_tolerance_is_within_it() -> None:
    # 3 x 0.7 is a little more than 2.1 in binary.
    reference = np.zeros((9, 20, 20), np.uint8)
    reference[:, 8:12, 8:12] = 1
    moved = volume(np.roll(reference, 3, axis=1))
    assert evaluate(moved, volume(reference), tolerance_mm=2.1)["lungs"].nsd == 1
    assert evaluate(moved, volume(reference), tolerance_mm=2.09)["lungs"].nsd < 1


@pytest.mark.parametrize("tolerance_mm", [-1.0, math.nan, math.inf])
def test_a_tolerance_that_is_none_is_refused(tolerance_mm: float) -> None:
    with pytest.raises(InputError, match="tolerance"):
        evaluate(volume(blobs(0)), volume(blobs(0)), tolerance_mm=tolerance_mm)


def lobes(seed: int) -> npt.NDArray[np.uint8]:
    """Labels 0 and 3 to 6."""
    array = blobs(seed)
    array[array > 0] += 2
    array[:4] += 2 * (array[:4] > 0).astype(np.uint8)
    return array


def test_any_other_labels_go_by_their_numbers() -> None:
    predicted, expected = np.roll(lobes(0), 1, axis=-1), lobes(0)
    predicted[0, 0, 0] = 9
    scores = evaluate(volume(predicted), volume(expected))
    assert list(scores) == ["lungs", "label 3", "label 4", "label 5", "label 6", "label 9"]
    for label in (3, 4, 5, 6):
        one, other = predicted == label, expected == label
        assert scores[f"label {label}"].dice == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
    assert scores["label 9"].hd95_mm == math.inf


LUNGS = {1: "right lung", 2: "left lung"}


def called(array: npt.NDArray[np.uint8], names: dict[int, str]) -> Volume:
    return replace(volume(array), names=names)


def test_a_number_alone_is_no_side() -> None:
    assert list(evaluate(volume(blobs(0)), volume(blobs(0)))) == ["lungs", "label 1", "label 2"]


def test_labels_of_two_files_are_matched_by_their_names() -> None:
    ours, theirs = blobs(0), np.choose(blobs(0), [0, 6, 5]).astype(np.uint8)
    theirs[:, :2] = 1
    ours[:, :2] = 0
    reference = called(theirs, {1: "ribs", 5: "Left_Lung", 6: "lung right"})
    scores = evaluate(called(ours, LUNGS), reference)
    assert list(scores) == ["lungs", "ribs", "left", "right"]
    assert (scores["lungs"].dice, scores["left"].dice, scores["right"].dice) == (1, 1, 1)
    assert scores["ribs"].volume_ml == 0
    assert not (disagreement(called(ours, LUNGS), reference).array == 3).any()
    slices = evaluate_slices(called(ours, LUNGS), reference)
    assert all(score.dice == 1 or math.isnan(score.dice) or score.reference_ml == 0 for score in slices["left"])


def test_a_label_that_one_file_alone_has_does_not_stand_for_anothers() -> None:
    scores = evaluate(called(blobs(0), {1: "spine", 2: "left"}), called(blobs(0), LUNGS))
    assert scores["left"].dice == 1
    assert scores["right"].volume_ml == scores["spine"].reference_ml == 0


def test_names_of_one_side_name_the_other_where_the_numbers_can_be_the_same() -> None:
    assert list(evaluate(volume(blobs(0)), called(blobs(0), LUNGS))) == ["lungs", "right", "left"]
    assert list(evaluate(called(blobs(0), {1: "liver", 2: "spleen"}), volume(blobs(0)))) == ["lungs", "liver", "spleen"]


def test_numbers_that_cannot_mean_the_same_are_refused_with_what_to_do() -> None:
    reference = np.choose(blobs(0), [0, 5, 6]).astype(np.uint8)
    reference[:, :2] = 1
    names = {1: "ribs", 5: "right lung", 6: "left lung"}
    with pytest.raises(InputError, match=r"\(1 ribs, 5 right lung, 6 left lung\).*--label"):
        evaluate(volume(blobs(0)), called(reference, names))
    assert "tumour" in evaluate(volume(blobs(0)), called(reference, names), names={1: "tumour"})


def test_names_of_which_none_is_alike_are_refused() -> None:
    labels = volume(blobs(0))
    german, english = {1: "Lunge rechts", 2: "Lunge links"}, {1: "right lung", 2: "left lung"}
    with pytest.raises(InputError, match=r"no name alike \(1 Lunge rechts, 2 Lunge links against 1 right lung, 2 left lung\)"):
        evaluate(replace(labels, names=german), replace(labels, names=english))
    assert evaluate(replace(labels, names=german), replace(labels, names=english), names=english)["right lung"].dice == 1
    both = volume((blobs(0) > 0).astype(np.uint8))
    assert evaluate(replace(both, names={1: "lungs"}), replace(labels, names=english))["lungs"].dice == 1


@pytest.mark.parametrize("affine", list(grids())[::7])
def test_cropped_segmentations_are_compared_in_their_places(affine: npt.NDArray[np.float64]) -> None:
    """As 3D Slicer and DICOM-SEG save them: either of the two, or both, each to its own part."""
    names = {1: "right lung", 2: "left lung"}
    array = np.pad(blobs(0), 2)
    whole = Volume(array, affine, names=names)
    other = replace(whole, array=np.maximum(array, np.roll(array, 1, axis=1)))
    expected = evaluate(whole, other)

    def cropped(volume: Volume) -> Volume:
        boxes = ndimage.find_objects((np.asarray(volume.array) > 0).astype(int))
        return volume.crop(boxes[0])

    assert cropped(whole).shape != whole.shape
    for one, two in ((cropped(whole), other), (whole, cropped(other)), (cropped(whole), cropped(other))):
        found = evaluate(one, two)
        assert found.keys() == expected.keys()
        assert found["right"].dice == expected["right"].dice
        assert found["lungs"].hd95_mm == pytest.approx(expected["lungs"].hd95_mm)
    errors = disagreement(cropped(whole), other)
    np.testing.assert_array_equal(errors.array, disagreement(whole, other).array)
    with pytest.raises(InputError, match="different grids"):
        evaluate(replace(cropped(whole), names=None), replace(other, names=None))


def test_axes_that_run_otherwise_are_told_where_the_shapes_are_alike() -> None:
    one, other = scaling((2.0, 1.0, 1.0)), scaling((2.0, 1.0, 1.0))
    one[:3, [0, 2]] = one[:3, [2, 0]]
    array = np.ones((3, 5, 4), np.uint8)
    with pytest.raises(InputError, match=r"upright shapes are \(4, 5, 3\) and \(3, 5, 4\)"):
        evaluate(Volume(array, one), Volume(array, other))


def test_labels_are_called_as_they_are_named_whether_they_occur_or_not() -> None:
    scores = evaluate(volume(lobes(0)), volume(lobes(0)), names={5: "upper lobe", 7: "tumour"})
    assert list(scores) == ["lungs", "upper lobe", "tumour"]
    assert scores["tumour"].reference_ml == 0
    assert scores["upper lobe"].reference_ml > 0


def test_a_mask_of_any_one_number_is_lung() -> None:
    plain = (blobs(0) > 0).astype(np.uint8)
    assert list(evaluate(volume(plain * 255), volume(plain))) == ["lungs"]
    assert evaluate(volume(plain), volume(plain.astype(np.float32) * 255))["lungs"].dice == 1


def test_what_holds_no_labels_is_refused() -> None:
    labels, ramp = volume(blobs(0)), np.arange(9 * 14 * 17).reshape(9, 14, 17)
    with pytest.raises(InputError, match="prediction holds numbers that are not whole"):
        evaluate(volume(ramp / 7), labels)
    with pytest.raises(InputError, match="reference holds 2141 different labels"):
        evaluate(labels, volume(ramp))
    with pytest.raises(InputError, match=r"reference holds negative numbers \(down to -1000\), as an image does"):
        evaluate(labels, volume(np.where(blobs(0) > 0, -850, -1000)))
    with pytest.raises(InputError, match=r"prediction holds what is no number \(NaN or infinity\)"):
        evaluate(volume(np.where(blobs(0) > 0, np.nan, 0.0)), labels)


@pytest.mark.parametrize("affine", list(grids())[::7])
def test_slices_score_as_pictures_of_their_own_in_the_references_order(affine: npt.NDArray[np.float64]) -> None:
    reference = Volume(blobs(1), affine)
    other = np.roll(blobs(1), 1, axis=-1)
    # The prediction is stored in another order and direction.
    prediction = Volume(*stored_otherwise(other, affine, (2, 0, 1), (1,)))
    scores = evaluate_slices(prediction, reference, names={1: "right", 2: "left"})
    axis = reference.axial_axis
    assert list(scores) == ["lungs", "right", "left"]
    assert len(scores["left"]) == reference.shape[axis]
    step = scaling(tuple(size for a, size in enumerate(reference.spacing) if a != axis))
    for index in (0, 4, reference.shape[axis] - 1):
        one, two = (Volume(array.take(index, axis), step) for array in (other, reference.array))
        alone = evaluate(one, two, names={1: "right", 2: "left"})
        for name in scores:
            score, expected = scores[name][index], alone[name]
            for field in ("dice", "recall", "specificity", "hd95_mm", "assd_mm", "nsd", "volume_error_percent"):
                assert getattr(score, field) == pytest.approx(getattr(expected, field)), (name, index, field)


def test_the_slices_volumes_add_up_to_the_whole() -> None:
    prediction, reference = volume(blobs(1)), volume(blobs(2))
    whole, parts = evaluate(prediction, reference), evaluate_slices(prediction, reference)
    for name, score in whole.items():
        assert sum(part.volume_ml for part in parts[name]) == pytest.approx(score.volume_ml)
        assert sum(part.reference_ml for part in parts[name]) == pytest.approx(score.reference_ml)


def test_a_lone_slice_is_one_slice_whichever_way_it_was_cut() -> None:
    coronal = Volume(blobs(0)[:, :1], scaling(SPACING))
    assert len(evaluate_slices(coronal, coronal)["lungs"]) == 1
    flat = volume(blobs(0, (14, 17)))
    assert len(evaluate_slices(flat, flat)["lungs"]) == 1


@pytest.mark.parametrize("affine", list(grids())[::11])
def test_errors_lie_where_they_are_on_the_references_grid(affine: npt.NDArray[np.float64]) -> None:
    reference = Volume(blobs(1), affine)
    other = blobs(2)
    errors = disagreement(Volume(*stored_otherwise(other, affine, (1, 2, 0), (0, 2))), reference)
    np.testing.assert_array_equal(errors.affine, affine)
    found, wanted = other > 0, reference.array > 0
    np.testing.assert_array_equal(errors.array == 1, found & ~wanted)
    np.testing.assert_array_equal(errors.array == 2, wanted & ~found)
    np.testing.assert_array_equal(errors.array == 3, found & wanted & (other != reference.array))


def test_another_number_is_no_error_where_the_reference_knows_only_one() -> None:
    plain = volume((blobs(0, (14, 17)) > 0).astype(np.uint8))
    errors = disagreement(volume(blobs(0, (14, 17))), plain)
    assert errors.shape == (14, 17)
    assert not errors.array.any()


def test_the_same_grid_stored_another_way_round_is_brought_together() -> None:
    reference = volume(blobs(0))
    turn = np.eye(4)[[1, 0, 2, 3]]
    turn[2, 2], turn[2, 3] = -1, reference.shape[2] - 1
    stored = Volume(np.flip(reference.array.transpose(1, 0, 2), 2), reference.affine @ turn)
    assert evaluate(stored, reference)["lungs"].dice == 1
    assert evaluate(stored, reference)["label 2"].dice == 1


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
