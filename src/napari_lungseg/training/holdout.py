"""Scoring a model on whole cases that it has not learnt from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from napari_lungseg.metrics import evaluate
from napari_lungseg.model import Model
from napari_lungseg.segmentation import segment
from napari_lungseg.training.dataset import Dataset
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.volume import Volume


@dataclass(frozen=True)
class CaseScore:
    """How a model did on one case.

    Attributes
    ----------
    case, patient : str
        Which.
    dice, iou, precision, recall : float
        Over the whole case; NaN where the reference has no lung.
    hd95_mm : float
        95th percentile Hausdorff distance; NaN where either mask is empty: a missed lung counts under ``missed_cases``.
    slice_dice : tuple of float
        Dice of each axial slice whose reference has lung, in order.
    false_ml : tuple of float
        Volume marked on each axial slice whose reference has none.
    """

    case: str
    patient: str
    dice: float
    iou: float
    precision: float
    recall: float
    hd95_mm: float
    slice_dice: tuple[float, ...]
    false_ml: tuple[float, ...]


def score_case(case: str, patient: str, prediction: Volume, reference: Volume) -> CaseScore:
    """Compare one prediction with its reference."""
    found, _ = prediction.reorient()
    known, _ = reference.reorient()
    a, b = np.atleast_3d(np.asarray(found.array) > 0), np.atleast_3d(np.asarray(known.array) > 0)
    if found.ndim == 2:
        a, b = a.transpose(2, 0, 1), b.transpose(2, 0, 1)
    overlap, size_a, size_b = ((m).sum(axis=(1, 2)) for m in (a & b, a, b))
    lung = size_b > 0
    # Everything that was found, whatever it is called.
    whole = evaluate(replace(prediction, names=None), replace(reference, names=None))["lungs"]
    nan = float("nan")
    return CaseScore(
        case,
        patient,
        whole.dice if lung.any() else nan,
        whole.iou if lung.any() else nan,
        whole.precision if lung.any() else nan,
        whole.recall if lung.any() else nan,
        whole.hd95_mm if lung.any() and size_a.any() else nan,
        tuple(float(v) for v in 2.0 * overlap[lung] / (size_a + size_b)[lung]),
        tuple(float(v) for v in size_a[~lung] * found.voxel_ml),
    )


def score_cases(model: Model, data: Dataset, cases: Iterable[str], *, postprocess: bool = True) -> list[CaseScore]:
    """Segment cases of a data set and compare them with their labels, except where these are to be ignored."""
    scores = []
    for case in cases:
        image, labels = data.load(case)
        found = segment(image, model, postprocess=postprocess).labels
        ignored = np.asarray(labels.array) == IGNORE
        if ignored.any():
            found, labels = (volume.with_array(np.where(ignored, 0, volume.array)) for volume in (found, labels))
        scores.append(score_case(case, data.patients[case], found, labels))
    return scores


def summarise(scores: list[CaseScore]) -> dict[str, float]:
    """Means over cases and slices, the 5th percentile of slices, and what was marked where there is no lung.

    Returns
    -------
    dict
        ``dice``, ``iou``, ``precision``, ``recall``, ``hd95_mm``: means over cases with lung (no ``hd95_mm`` where nothing was
        found in any); ``missed_cases`` of these in which nothing was found; ``slice_dice``, ``slice_dice_p5``,
        ``slice_dice_median``; ``cases``, ``slices`` with lung; ``empty_slices``, ``empty_slices_marked`` and ``false_ml``
        over slices without.
    """
    with_lung = [score for score in scores if score.slice_dice]
    slices = np.array([value for score in scores for value in score.slice_dice])
    false = np.array([value for score in scores for value in score.false_ml])
    summary: dict[str, float] = {"cases": len(with_lung), "slices": slices.size}
    if with_lung:
        for name in ("dice", "iou", "precision", "recall", "hd95_mm"):
            known = [value for score in with_lung if not np.isnan(value := getattr(score, name))]
            if known:
                summary[name] = float(np.mean(known))
        summary["missed_cases"] = sum(score.dice == 0 for score in with_lung)
        summary["slice_dice"] = float(slices.mean())
        summary["slice_dice_median"] = float(np.median(slices))
        summary["slice_dice_p5"] = float(np.percentile(slices, 5))
    summary["empty_slices"] = false.size
    summary["empty_slices_marked"] = int((false > 0).sum())
    summary["false_ml"] = float(false.sum())
    return {key: round(value, 5) for key, value in summary.items()}
