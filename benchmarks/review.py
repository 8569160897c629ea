"""How much of what is wrong a person finds who looks at the slices in the order of the review, against other orders.

    python benchmarks/review.py DATASET [--cache DIR]

DATASET is a data set folder with volumes on both sides, as tools/lung_ct_dataset.py writes it. Looking at a slice corrects it: the
share of the wrong voxels of the volume that lie in the slices looked at is what was found. Two kinds of model make the masks:

- three weak ones, trained here for 200 or 300 steps on the single slices of the training side, so that every volume is new to them
  (about two minutes each on two cores). The weights of the measures are fitted to these, on volumes of the training side.
- the bundled lung-ct, only on held-out volumes.

Prints the weights, what each measure and each sum of measures finds, what distance between slices costs, and every volume.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.special import entr

from napari_lungseg.model import Model, load_model
from napari_lungseg.review import APART_MM, ONE_OPINION, TWO_OPINIONS, SliceMeasures, Weights, measure_slices, rank
from napari_lungseg.segmentation import segment
from napari_lungseg.training.dataset import Dataset, open_dataset
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.train import train

#: Epochs of 100 steps for which the weak model of each seed is trained.
EPOCHS = (3, 3, 2)
#: Volumes with fewer slices are left out.
FEWEST_SLICES = 20
#: An area on which a fit tolerates errors even where none are expected (mm²), about a rim of a pixel.
FLOOR_MM2 = 100.0
LOOKS = (5, 10, 20)
SHARES = (0.05, 0.1, 0.2)
DISTANCES = (0.0, 2.5, APART_MM, 10.0, 20.0)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """One model's mask of one volume: all that is known slice by slice, in mm²."""

    name: str
    held_out: bool
    step_mm: float
    wrong: Floats
    with_lung: npt.NDArray[np.bool_]
    review: SliceMeasures
    measures: dict[str, Floats]


#: What is added up in each candidate score.
CANDIDATES = (
    ("entropy",),
    ("probability of error",),
    ("doubt",),
    ("jump",),
    ("jump of area",),
    ("difference to neighbours",),
    ("disagreement",),
    ("entropy", "jump"),
    ("doubt", "jump"),
    ("doubt", "jump of area"),
    ("doubt", "difference to neighbours"),
    ("doubt", "disagreement"),
    ("entropy", "jump", "disagreement"),
    ("doubt", "jump", "disagreement"),
)


def tried_measures(percent: np.ndarray, labels: np.ndarray, pixel_mm2: float) -> dict[str, Floats]:
    """Measures that were tried beside those of the review."""
    lung = np.arange(101) / 100.0
    bits = (entr(lung) + entr(1.0 - lung)) / np.log(2.0)
    counts = np.array([np.bincount(plane.ravel(), minlength=101) for plane in percent])
    ends = np.pad(labels, ((1, 1), (0, 0), (0, 0)), mode="edge")
    area = (ends > 0).sum(axis=(1, 2)) * pixel_mm2
    steps = (ends[1:] != ends[:-1]).sum(axis=(1, 2)) * pixel_mm2
    return {
        "entropy": counts @ bits * pixel_mm2,
        "probability of error": counts @ np.minimum(lung, 1.0 - lung) * pixel_mm2,
        "jump of area": np.abs(area[1:-1] - (area[:-2] + area[2:]) / 2.0),
        "difference to neighbours": steps[:-1] + steps[1:],
    }


def slice_count(data: Dataset, name: str) -> int:
    image = data.load(name)[0]
    return 1 if image.ndim == 2 else image.shape[image.axial_axis]


def weak_model(data: Dataset, seed: int, cache: Path) -> Model:
    """Train on the single slices of the training side, or take what was trained before."""
    folder = cache / f"weak-{seed}"
    if not (folder / "card.json").exists():
        singles = cache / "single-slices"
        names = [case for case in data.train if slice_count(data, case) == 1]
        for part, end in (("imagesTr", f"_0000{data.ending}"), ("labelsTr", data.ending)):
            (singles / part).mkdir(parents=True, exist_ok=True)
            for name in names:
                (singles / part / f"{name}{end}").write_bytes((data.folder / part / f"{name}{end}").read_bytes())
        (singles / "dataset.json").write_text((data.folder / "dataset.json").read_text())
        (singles / "splits_final.json").write_text(json.dumps([{"train": names, "val": []}]))
        print(f"Training weak-{seed} on {len(names)} slices.", flush=True)
        train(singles, folder, settings=TrainSettings(epochs=EPOCHS[seed], seed=seed), device="cpu")
    return load_model(str(folder))


def look(data: Dataset, name: str, model: Model, label: str, cache: Path) -> Case:
    """Segment a volume as it is and flipped left to right, or take what was predicted before."""
    image, known = (volume.reorient()[0] for volume in data.load(name))
    file = cache / f"{label}_{name}.npz"
    if not file.exists():
        found = segment(image, model)
        flipped = segment(image.with_array(image.array[..., ::-1], image.unit), model).probability.array[..., ::-1]
        np.savez_compressed(file, percent=found.probability.array, labels=found.labels.array, flipped=flipped)
    stored = np.load(file)
    percent, labels = stored["percent"], stored["labels"]
    pixel_mm2 = image.spacing[1] * image.spacing[2]
    review = measure_slices(labels, image.spacing, percent, stored["flipped"])
    own = {"doubt": review.doubt_mm2, "jump": review.jump_mm2, "disagreement": review.disagreement_mm2}
    return Case(
        name,
        name in data.held_out,
        image.spacing[0],
        ((labels > 0) != (np.asarray(known.array) > 0)).sum(axis=(1, 2)) * pixel_mm2,
        labels.any(axis=(1, 2)),
        review,
        own | tried_measures(percent, labels, pixel_mm2),
    )


def fit(cases: Sequence[Case], names: Sequence[str]) -> Floats:
    """Weights, none negative, with which measures add up to the wrong area; every volume counts the same.

    Least squares in which the variance grows with the area that is expected, as areas' do.
    """
    inputs = np.concatenate([score_inputs(case, names) for case in cases])
    wrong = np.concatenate([case.wrong for case in cases])
    share = np.concatenate([np.full(len(case.wrong), 1.0 / len(case.wrong)) for case in cases])
    weights = np.zeros(len(names))
    for _ in range(20):
        scale = np.sqrt(share / (inputs @ weights + FLOOR_MM2))
        weights = nnls(inputs * scale[:, None], wrong * scale)[0]
    return weights


def score_inputs(case: Case, names: Sequence[str]) -> Floats:
    return np.stack([case.measures[name] for name in names], axis=1)


def others(cases: Sequence[Case], case: Case) -> list[Case]:
    """What the weights for a volume are fitted to: weak models' masks of the training side, but not of this volume."""
    return [other for other in cases if not other.held_out and other.name != case.name]


def found(case: Case, order: Sequence[int], looks: Sequence[float] = LOOKS) -> Floats:
    """Share of what is wrong in the first slices of an order; numbers below 1 are shares of the volume."""
    counts = [math.ceil(look * len(case.wrong)) if look < 1 else look for look in looks]
    return np.array([case.wrong[order[:count]].sum() for count in counts]) / case.wrong.sum()


def by_review(case: Case, weights: Weights = ONE_OPINION, apart_mm: float = APART_MM) -> list[int]:
    return rank(case.review.expected_error_mm2(weights), (), case.step_mm, apart_mm)


def orders(case: Case) -> dict[str, Callable[[Sequence[float]], Floats]]:
    """Ways to go through a volume."""
    count, lung = len(case.wrong), np.flatnonzero(case.with_lung)
    ways = {
        "ranking": by_review(case),
        "ranking with flips": by_review(case, TWO_OPINIONS),
        "upward from the lowest lung": range(lung[0], count),
        "downward from the highest lung": range(lung[-1], -1, -1),
        "from slice 0": range(count),
        "best possible": np.argsort(-case.wrong),
    }
    result = {name: lambda looks, order=list(order): found(case, order, looks) for name, order in ways.items()}
    result["chance"] = lambda looks: np.array([math.ceil(look * count) if look < 1 else min(look, count) for look in looks]) / count
    return result


def percent_cells(values: Floats) -> str:
    return " | ".join(f"{100 * value:.0f}" for value in values)


def table(head: Sequence[str], rows: Sequence[str]) -> None:
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    print("\n".join(f"| {row} |" for row in rows), flush=True)


def report(groups: dict[str, list[Case]], weak: list[Case]) -> None:
    print("\nWeights, fitted to weak models on the training side:")
    for names in (("jump",), ("doubt", "jump"), ("doubt", "jump", "disagreement")):
        weights = fit([case for case in weak if not case.held_out], names)
        print("- " + ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, weights)))

    print("\nShare (%) of what is wrong found by each sum of measures, without distance; weights fitted to other volumes:")
    head = ["measures", *(f"{group}: {look} slices" for group in groups for look in LOOKS)]
    rows = []
    for names in CANDIDATES:
        cells = []
        for cases in groups.values():
            scores = [score_inputs(case, names) @ fit(others(weak, case), names) for case in cases]
            cells.append(
                percent_cells(np.mean([found(case, np.argsort(-score, kind="stable")) for case, score in zip(cases, scores)], axis=0))
            )
        rows.append(" | ".join((" + ".join(names), *cells)))
    table(head, rows)

    print("\nShare (%) found in weak models' masks when reviewed slices lower the score of those nearer than a distance:")
    thin = [case for case in weak if case.step_mm < APART_MM]
    halves = {f"slices under {APART_MM:g} mm apart": thin, "slices further apart": [case for case in weak if case not in thin]}
    rows = []
    for apart_mm in DISTANCES:
        shares = [np.mean([found(case, by_review(case, apart_mm=apart_mm)) for case in cases], axis=0) for cases in halves.values()]
        rows.append(" | ".join((f"{apart_mm:g} mm", *map(percent_cells, shares))))
    table(["distance", *(f"{half}: {look} slices" for half in halves for look in LOOKS)], rows)

    print("\nShare (%) found, mean over volumes:")
    ways = list(orders(weak[0]))
    rows = []
    for group, cases in groups.items():
        looks = (*LOOKS, *SHARES)
        means = [np.mean([orders(case)[way](looks) for case in cases], axis=0) for way in ways]
        for number, look in enumerate(looks):
            what = f"{look} slices" if look >= 1 else f"{100 * look:.0f} % of the slices"
            rows.append(f"{group} | {what} | " + percent_cells(np.array([mean[number] for mean in means])))
    table(["masks", "looked at", *ways], rows)

    print("\nShare (%) found in each volume (weak models: mean of the seeds), and the volume that is wrong and that was expected to be:")
    rows = []
    for group, cases in groups.items():
        for name in dict.fromkeys(case.name for case in cases):
            same = [case for case in cases if case.name == name]
            wrong, guess = (
                np.mean([values(case).sum() * case.step_mm / 1000.0 for case in same])
                for values in (lambda case: case.wrong, lambda case: case.review.expected_error_mm2(ONE_OPINION))
            )
            for number, look in enumerate(LOOKS):
                means = np.array([np.mean([orders(case)[way](LOOKS)[number] for case in same]) for way in ways])
                size = f"{name} ({len(same[0].wrong)} slices) | {wrong:.0f} | {guess:.0f}"
                rows.append(f"{group} | {size} | {look} | {percent_cells(means)}")
    table(["masks", "volume", "wrong (mL)", "expected (mL)", "slices looked at", *ways], rows)


def main() -> None:
    """Predict, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--cache", type=Path, help="where weak models and predictions are kept for the next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        data = open_dataset(options.dataset)
        names = [name for name in (*data.train, *data.held_out) if slice_count(data, name) >= FEWEST_SLICES]
        weak = []
        for seed in range(len(EPOCHS)):
            model = weak_model(data, seed, cache)
            weak += [look(data, name, model, f"weak-{seed}", cache) for name in names]
        bundled = load_model("lung-ct")
        strong = [look(data, name, bundled, "lung-ct", cache) for name in names if name in data.held_out]
    groups = {
        "weak, training side": [case for case in weak if not case.held_out],
        "weak, held out": [case for case in weak if case.held_out],
        "lung-ct, held out": strong,
    }
    report(groups, weak)


if __name__ == "__main__":
    main()
