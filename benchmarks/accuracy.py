"""How good a model is on patients it has not learnt from: the table of the model card, and pictures of the worst slices.

    python benchmarks/accuracy.py DATASET [--model NAME|DIR] [--pictures DIR]

DATASET is a data set folder with held-out cases (imagesTs, labelsTs), as tools/lung_ct_dataset.py writes it.

Severity is told by slices: by the share of the known lung that is denser than -500 HU, where what computed tomography of diseased lung
calls normally aerated ends (Gattinoni et al., doi 10.1164/ajrccm.164.9.2103121). Vessels and borders alone make up 2 to 6 %.
Where the data set has a quality.csv (case, slice from the feet, good or fair), slices are told by how sure their mask is, too.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.io import imsave

from napari_lungseg.model import Model, load_model
from napari_lungseg.segmentation import segment
from napari_lungseg.training.dataset import Dataset, open_dataset
from napari_lungseg.training.judge import CaseScore, score_case, summarise
from napari_lungseg.volume import Volume

#: Window of the pictures, HU.
LOW, HIGH = -1100.0, 300.0
SIDE_PX = 320
#: HU above which lung is not normally aerated.
DENSE = -500.0
#: Names of severity, and the share of dense lung up to which each goes.
SEVERITY = (("clear", 0.10), ("moderate", 0.25), ("severe", 1.0))
COLUMNS = ("slices", "dice", "slice_dice_median", "slice_dice_p5", "iou", "precision", "recall", "hd95_mm", "empty_slices", "false_ml")


@dataclass(frozen=True)
class SliceScore:
    """How well one axial slice with lung was found.

    Attributes
    ----------
    dice : float
        Of lung.
    severity : str
        Of :data:`SEVERITY`.
    known_ml, found_ml : float
        Volumes of lung.
    rating : str
        What quality.csv says of the known mask; empty where there is none.
    """

    dice: float
    severity: str
    known_ml: float
    found_ml: float
    rating: str


def row(name: str, scores: list[CaseScore]) -> str:
    """One line of the Markdown table."""
    summary = summarise(scores)
    digits = {"slices": 0, "hd95_mm": 1, "empty_slices": 0, "false_ml": 2}
    cells = [f"{summary[c]:.{digits.get(c, 4)}f}" if c in summary else "" for c in COLUMNS]
    return f"| {name} | " + " | ".join(cells) + " |"


def outlined(image: np.ndarray, found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """RGB picture: reference in green, prediction in red, both in yellow."""
    grey = np.clip((image.astype(float) - LOW) / (HIGH - LOW), 0, 1)
    picture = np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=-1)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (found, known)]
    picture[edges[0] | edges[1]] = 0
    for channel, edge in enumerate(edges):
        picture[edge, channel] = 255
    return picture


def crop(picture: np.ndarray, known: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Cut to what is marked, with a margin, and scale to a square."""
    rows, columns = np.nonzero(known | found) if (known | found).any() else np.nonzero(np.ones(known.shape))
    side = max(np.ptp(rows), np.ptp(columns)) + 60
    top, left = int((rows.min() + rows.max() - side) / 2), int((columns.min() + columns.max() - side) / 2)
    padded = np.pad(picture, ((side, side), (side, side), (0, 0)))
    part = padded[side + top : 2 * side + top, side + left : 2 * side + left]
    index = (np.arange(SIDE_PX) * side / SIDE_PX).astype(int)
    return part[index][:, index]


def sheet(pictures: list[np.ndarray], columns: int = 4) -> np.ndarray:
    """Pictures side by side."""
    blank = np.zeros_like(pictures[0])
    padded = pictures + [blank] * (-len(pictures) % columns)
    return np.vstack([np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)])


def upright(volume: Volume) -> np.ndarray:
    """Axial slices along axis 0."""
    array = np.asarray(volume.reorient()[0].array)
    return array if array.ndim == 3 else array[None]


def severity_of(ct: np.ndarray, known: np.ndarray) -> str:
    """How diseased the lung of a slice is."""
    dense = float((ct[known] > DENSE).mean())
    return next(name for name, most in SEVERITY if dense <= most)


def read_ratings(dataset: Path) -> dict[tuple[str, int], str]:
    """How sure the mask of each slice of each case is, where the data set tells."""
    table = dataset / "quality.csv"
    if not table.is_file():
        return {}
    with table.open(newline="") as file:
        return {(line["case"], int(line["slice"])): line["quality"] for line in csv.DictReader(file)}


def slices_row(name: str, scores: list[SliceScore]) -> str:
    """One line of a table of slices."""
    dice = np.array([score.dice for score in scores])
    known, found = (sum(getattr(score, volume) for score in scores) for volume in ("known_ml", "found_ml"))
    worst = ", ".join(f"{value:.3f}" for value in sorted(dice)[:3])
    cells = (len(scores), f"{dice.mean():.4f}", f"{np.median(dice):.4f}", f"{np.percentile(dice, 5):.4f}", worst)
    return f"| {name} | " + " | ".join(map(str, cells)) + f" | {found - known:+.1f} of {known:.0f} ({(found - known) / known:+.1%}) |"


def run(
    data: Dataset, model: Model, cases: Iterable[str]
) -> tuple[list[CaseScore], dict[str, list[SliceScore]], list[tuple[float, str, np.ndarray]]]:
    """Scores of every case and of its slices with lung, and a picture of every slice with its Dice (0 for marks where no lung is)."""
    scores, slices, pictures, ratings = [], {}, [], read_ratings(data.folder)
    for case in cases:
        image, labels = data.load(case)
        result = segment(image, model).labels
        score = score_case(case, data.patients[case], result, labels)
        scores.append(score)
        voxel_ml = labels.voxel_ml
        print(f"{case}: " + row("", [score]).removeprefix("|  |"), flush=True)
        for index, (ct, found, known) in enumerate(zip(upright(image), upright(result) > 0, upright(labels) > 0, strict=True)):
            if not (found | known).any():
                continue
            dice = 2.0 * (found & known).sum() / (found.sum() + known.sum())
            if known.any():
                ml = voxel_ml * np.array([known.sum(), found.sum()])
                slices.setdefault(case, []).append(SliceScore(float(dice), severity_of(ct, known), *ml, ratings.get((case, index), "")))
            pictures.append((float(dice), f"{case} slice {index}", crop(outlined(ct, found, known), known, found)))
    return scores, slices, pictures


def main() -> None:
    """Print the table; save the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="lung-ct")
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    data = open_dataset(options.dataset)
    scores, slices, pictures = run(data, load_model(options.model), data.held_out)
    covid = [score for score in scores if score.patient.startswith("SBU")]
    print("\n| held-out cases | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
    print(row("all", scores))
    print(row("COVID-19 slices", covid))
    print(row("others", [score for score in scores if score not in covid]))
    every = [score for case in slices.values() for score in case]
    for told_by, names in (("severity", [name for name, _ in SEVERITY]), ("rating", sorted({score.rating for score in every}))):
        print(f"\n| slices with lung, by {told_by} | number | Dice, mean | median | 5th percentile | the three worst | volume, mL |")
        print("|" + "---|" * 7)
        for name in names:
            if of_it := [score for score in every if getattr(score, told_by) == name]:
                print(slices_row(name or "not rated", of_it))
    print(slices_row("all", every))
    print("\n| volume | known, mL | found, mL | error |\n|---|---|---|---|")
    for case, of_it in slices.items():
        if len(of_it) > 1:
            known, found = sum(score.known_ml for score in of_it), sum(score.found_ml for score in of_it)
            print(f"| {case} | {known:.0f} | {found:.0f} | {(found - known) / known:+.2%} |")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        worst = sorted(pictures, key=lambda item: item[0])[:12]
        imsave(options.pictures / "worst.png", sheet([picture for _, _, picture in worst]), check_contrast=False)
        print("worst.png, left to right: " + "; ".join(f"{name} ({dice:.3f})" for dice, name, _ in worst))
        diseased = [item for item in pictures if item[1].startswith("sbu") and item[0] > 0]
        imsave(options.pictures / "covid.png", sheet([picture for _, _, picture in diseased]), check_contrast=False)
        print("covid.png, left to right: " + "; ".join(f"{name} ({dice:.3f})" for dice, name, _ in diseased))


if __name__ == "__main__":
    main()
