"""Score networks and models, and decide whether a new one is accepted."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_lungseg.framing import framing_of
from napari_lungseg.mask import apply_threshold
from napari_lungseg.metrics import evaluate
from napari_lungseg.model import Model
from napari_lungseg.preprocess import Preprocessing, normalise
from napari_lungseg.segmentation import segment
from napari_lungseg.training.dataset import Dataset
from napari_lungseg.training.losses import LOSSES
from napari_lungseg.training.samples import IGNORE, LabelledSlice
from napari_lungseg.training.updates import BeforeAfter, PooledScores, SlicePicture
from napari_lungseg.translation import SEMICOLON, say, say_n
from napari_lungseg.unet import UNet, probabilities
from napari_lungseg.volume import Volume

#: Probability from which on a pixel belongs to a class, as where masks are made.
THRESHOLD = 0.5
#: How much Dice on the base's own cases may be lost; less than one reader differs from another by far.
TOLERANCE = 0.002


class Confusion:
    """Count areas that are right, too much and missing, by class.

    Parameters
    ----------
    names : sequence of str
        Name of each class.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._hit, self._found, self._wanted = (np.zeros(len(names)) for _ in range(3))
        self._loss, self._count = 0.0, 0

    def add(self, found: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], loss: float, pixel_mm2: float = 1.0) -> None:
        """Count one slice or batch: what was found (0 .. n) against the label, where that was judged."""
        judged = label != IGNORE
        for index in range(len(self._names)):
            one, other = (found == index + 1) & judged, label == index + 1
            for total, mask in ((self._hit, one & other), (self._found, one), (self._wanted, other)):
                total[index] += np.count_nonzero(mask) * pixel_mm2
        self._loss += loss
        self._count += 1

    @property
    def scores(self) -> PooledScores:
        """Scores of everything counted so far."""
        hit, found, wanted = self._hit, self._found, self._wanted
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = {
                "dice": 2 * hit / (found + wanted),
                "iou": hit / (found + wanted - hit),
                "precision": hit / found,
                "recall": hit / wanted,
            }
        named = {name: dict(zip(self._names, (float(v) for v in values), strict=True)) for name, values in parts.items()}
        return PooledScores(loss=self._loss / max(1, self._count), **named)


@dataclass(frozen=True)
class Judge:
    """Score networks by the classes of a model.

    Attributes
    ----------
    preprocessing : Preprocessing
        Of the model.
    names : tuple of str
        Its classes.
    loss : str
        What training minimises.
    """

    preprocessing: Preprocessing
    names: tuple[str, ...]
    loss: str = "bce-dice"

    def find(self, network: UNet, item: LabelledSlice) -> tuple[npt.NDArray[np.uint8], Tensor]:
        """Run a network on a slice; returns what it finds and its logits, both on the slice's own pixels.

        Returns
        -------
        found : (H, W) array of uint8
            0 background, 1 .. n the classes.
        logits : (1, C, H, W) tensor
            On the CPU.
        """
        framing, size = framing_of(self.preprocessing), (item.image.shape[0], item.image.shape[1])
        rows, columns = framing.grid(size, item.spacing_mm)
        seen = torch.from_numpy(framing.plane(item.image, item.spacing_mm, item.intensity_range, network.config))
        with torch.inference_mode():
            device = next(network.parameters()).device
            logits = network(seen[None, None].to(device)).float().cpu()[..., :rows, :columns]
            found = framing.found(probabilities(logits)[0].numpy(), size, item.spacing_mm)
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        best = np.uint8(1) if found.classes is None else found.classes + np.uint8(1)
        return apply_threshold(found.percent, THRESHOLD) * best, logits

    def score(
        self, network: UNet, slices: Sequence[LabelledSlice], *, only: int | None = None
    ) -> Generator[LabelledSlice, None, PooledScores]:
        """Score a network on slices; yields each slice when it is done, so that the caller can stop between slices.

        Parameters
        ----------
        network : UNet
            In evaluation mode.
        slices : sequence of LabelledSlice
            Judged slices.
        only : int, optional
            Just the first so many classes, where the labels know no others.
        """
        count = len(self.names) if only is None else only
        confusion = Confusion(self.names[:count])
        for item in slices:
            found, logits = self.find(network, item)
            found[found > count] = 0
            label = torch.from_numpy(np.array(item.label))[None]
            loss = float(LOSSES[self.loss](logits, label)) if only is None else 0.0
            confusion.add(found, item.label, loss, item.pixel_mm2)
            yield item
        return confusion.scores

    def picture(self, network: UNet, item: LabelledSlice, title: str = "") -> SlicePicture:
        """Show a slice with its label and what the network finds."""
        found, _ = self.find(network, item)
        confusion = Confusion(self.names)
        confusion.add(found, item.label, 0.0)
        greys = ((normalise(item.image, *item.intensity_range) + 1.0) * 127.5).round().astype(np.uint8)
        return SlicePicture(title or f"{item.case} slice {item.index}", greys, np.array(item.label), found, confusion.scores.mean_dice)


def better(before: PooledScores | None, after: PooledScores | None) -> bool:
    """Whether the scores have risen by any amount."""
    return before is not None and after is not None and after.mean_dice > before.mean_dice


def forgotten(before: PooledScores | None, after: PooledScores | None) -> bool:
    """Whether more than :data:`TOLERANCE` of Dice was lost."""
    return before is not None and after is not None and before.mean_dice - after.mean_dice > TOLERANCE


def decide(new: BeforeAfter | None, old: BeforeAfter | None, no_validation: str) -> tuple[bool, str]:
    """Decide whether to accept a model, and say why.

    Parameters
    ----------
    new : BeforeAfter or None
        Validation slices; None where there are none.
    old : BeforeAfter or None
        Frozen cases of the base; None where there are none, or what it knows need not be kept.
    no_validation : str
        Why there are no validation slices.

    Returns
    -------
    accepted : bool
        Better on the new by any amount, and worse on the old by at most :data:`TOLERANCE`.
    why : str
        For the person.
    """
    if new is None:
        return False, say("Not accepted by itself: {reason}", reason=no_validation)
    if new.before is None:
        return True, say(
            "A new model: mean Dice {dice:.3f} on {slices} that it has not learnt from.",
            dice=new.after.mean_dice,
            slices=_slices(new),
        )
    figures = say(
        "Dice {before:.3f} before, {after:.3f} after on {slices} that it has not learnt from",
        before=new.before.mean_dice,
        after=new.after.mean_dice,
        slices=_slices(new),
    )
    if old is not None and old.before is not None:
        on_old = say(
            "{before:.4f} before, {after:.4f} after on {slices} of its old cases",
            before=old.before.mean_dice,
            after=old.after.mean_dice,
            slices=_slices(old),
        )
        figures = say(SEMICOLON, one=figures, more=on_old)
    if not better(new.before, new.after):
        return False, say(
            "Not accepted, as it is no better than the model before: {figures}. Correct more slices, or train longer.", figures=figures
        )
    if old is not None and forgotten(old.before, old.after):
        return (
            False,
            say(
                "Not accepted, as it has forgotten too much: {figures}. Train with more replay or a lower rate, or keep "
                "it for these images alone.",
                figures=figures,
            ),
        )
    return True, say("Accepted: {figures}.", figures=figures)


def _slices(compared: BeforeAfter) -> str:
    return say_n("{count} slice", "{count} slices", compared.slices)


@dataclass(frozen=True)
class CaseScore:
    """Hold the scores of a model on one case.

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


def score_cases(model: Model, data: Dataset, cases: Iterable[str]) -> list[CaseScore]:
    """Segment cases of a data set and compare them with their labels, except where these are to be ignored."""
    scores = []
    for case in cases:
        image, labels = data.load(case)
        found = segment(image, model).labels
        ignored = np.asarray(labels.array) == IGNORE
        if ignored.any():
            found, labels = (volume.with_array(np.where(ignored, 0, volume.array)) for volume in (found, labels))
        scores.append(score_case(case, data.patients[case], found, labels))
    return scores


def summarise(scores: list[CaseScore]) -> dict[str, float]:
    """Summarise scores: means over cases and slices, the 5th percentile of slices, and what was marked where there is no lung.

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
