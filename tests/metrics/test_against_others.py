"""What MONAI and scikit-learn define the same must come out the same."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance, compute_iou, compute_surface_dice
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from napari_lungseg.metrics import evaluate
from napari_lungseg.volume import Volume, scaling

SPACING = (2.5, 0.7, 0.9)
Mask = npt.NDArray[np.bool_]


def blob(seed: int, shape: tuple[int, ...]) -> Mask:
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5) > 0.05


def pair(seed: int, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Two masks that agree mostly; some surfaces touch the edge of the image."""
    one = blob(seed, shape)
    other = np.roll(one, 1, axis=-1)
    other[..., shape[-2] // 2, :] = False
    return one, other


def volume(mask: Mask) -> Volume:
    return Volume(mask.astype(np.uint8), scaling(SPACING[-mask.ndim :]))


def batch(mask: Mask) -> torch.Tensor:
    """As MONAI wants it: one case, background and one class."""
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.uint8))


CASES = [(seed, shape) for seed in range(3) for shape in ((11, 24, 27), (31, 37))]


@pytest.mark.parametrize(("seed", "shape"), CASES)
def test_overlaps_are_scikit_learns_and_monais(seed, shape):
    one, other = pair(seed, shape)
    score = evaluate(volume(one), volume(other))["lungs"]
    truth, guess = other.ravel(), one.ravel()
    assert score.f1 == score.dice == pytest.approx(f1_score(truth, guess))
    assert score.iou == pytest.approx(jaccard_score(truth, guess))
    assert score.precision == pytest.approx(precision_score(truth, guess))
    assert score.recall == pytest.approx(recall_score(truth, guess))
    assert score.specificity == pytest.approx(recall_score(truth, guess, pos_label=0))
    assert score.dice == pytest.approx(float(compute_dice(batch(one), batch(other), include_background=False)))
    assert score.iou == pytest.approx(float(compute_iou(batch(one), batch(other), include_background=False)))


@pytest.mark.parametrize(("seed", "shape"), CASES)
@pytest.mark.parametrize("tolerance_mm", [0.0, 0.8, 1.5, 3.0])
def test_surface_scores_are_monais(seed, shape, tolerance_mm):
    one, other = pair(seed, shape)
    score = evaluate(volume(one), volume(other), tolerance_mm=tolerance_mm)["lungs"]
    both, spacing = (batch(one), batch(other)), SPACING[-len(shape) :]
    assert score.hd95_mm == pytest.approx(float(compute_hausdorff_distance(*both, percentile=95, spacing=spacing)), rel=1e-5)
    assert score.assd_mm == pytest.approx(float(compute_average_surface_distance(*both, symmetric=True, spacing=spacing)), rel=1e-5)
    assert score.nsd == pytest.approx(float(compute_surface_dice(*both, class_thresholds=[tolerance_mm], spacing=spacing)))
    assert score.tolerance_mm == tolerance_mm


def test_a_structure_that_was_missed_scores_as_in_scikit_learn_and_monai():
    mask = blob(0, (11, 24, 27))
    nothing = np.zeros_like(mask)
    for one, other in ((mask, nothing), (nothing, mask)):
        score = evaluate(volume(one), volume(other))["lungs"]
        truth, guess = other.ravel(), one.ravel()
        for value, function in ((score.precision, precision_score), (score.recall, recall_score), (score.f1, f1_score)):
            assert value == function(truth, guess, zero_division=0)
        with pytest.warns(UserWarning, match="all 0"):
            assert score.nsd == float(compute_surface_dice(batch(one), batch(other), class_thresholds=[3.0], spacing=SPACING))
