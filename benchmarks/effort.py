"""How many strokes a robot person needs to mend wrong masks of held-out patients: brush alone, and strokes that find regions.

    python benchmarks/effort.py DATASET [--most-slices N]

DATASET is a folder as tools/lung_ct_dataset.py writes it; only its held-out cases (imagesTs) are used. Their masks are wrong as lung-ct
itself is wrong, as it is on an image that was saved with a narrow window, and as a threshold at -400 HU is. The robot draws into the
largest error first, misplaced and of uneven width. With the brush it paints what a disc that fits covers,
slice by slice, which flatters the brush: a person is not so exact. Of a region it looks at five sizes, takes the best, and drops it
for the brush where none makes the mask better.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_lungseg.edit.stroke import Stroke, regions
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read
from napari_lungseg.model import DEFAULT_MODEL, load_model
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume, scaling

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from stroke_robot import Error, draw, errors, narrowed

SIZES = (-3.0, -1.0, 0.0, 1.5, 3.0)
AFTER = (1, 2, 3, 5, 10, 20, 40)
#: From this Dice on a mask is not looked at, and mended no further.
GOOD = 0.99
MOST_STROKES = {"slice": 30, "volume": 120}
#: Thickness (mm) that a single slice is taken to have.
SLICE_MM = 5.0


@dataclass
class Mending:
    """A mask on its way, and what it has cost."""

    mask: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, ...]
    fixed: np.ndarray
    strokes: int = 0
    mm: float = 0.0
    dice: list[float] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)

    def note(self) -> None:
        """Write down how good it is by now."""
        both = np.count_nonzero((self.mask > 0) & self.truth)
        self.dice.append(2 * both / (np.count_nonzero(self.mask) + np.count_nonzero(self.truth)))

    def change(self, box: tuple[slice, ...], where: np.ndarray, label: int) -> None:
        """Set voxels, as a person."""
        self.mask[box][where] = label
        self.fixed[box][where] = True
        self.strokes += 1
        self.note()

    def after(self, strokes: int) -> float:
        """Dice after so many strokes."""
        return self.dice[min(strokes, len(self.dice) - 1)]


def paint(mending: Mending, error: Error, index: int) -> None:
    """One stroke of the brush on a slice of an error: all that a disc of 80 % of its depth covers on its way."""
    wrong = error.where[index]
    flat = mending.spacing[1:]
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1), sampling=flat)[1:-1, 1:-1]
    radius = max(0.8 * depth.max(), min(flat))
    parts, _ = ndimage.label(depth >= min(radius, depth.max()))
    middle = parts == parts[np.unravel_index(depth.argmax(), depth.shape)]
    covered = (ndimage.distance_transform_edt(~middle, sampling=flat) < radius) & wrong
    mending.mm += covered.sum() * float(np.prod(flat)) / (2 * radius)
    mending.change((slice(index, index + 1),), covered[None], int(error.missing))


def by_brush(mending: Mending, most: int) -> None:
    """Mend with the brush alone."""
    while mending.strokes < most and mending.dice[-1] < GOOD:
        found = errors(mending.mask, mending.truth, mending.spacing)
        if not found:
            return
        paint(mending, found[0], found[0].index)


def by_regions(mending: Mending, image: np.ndarray, percent: np.ndarray, most: int, rng: np.random.Generator) -> None:
    """Mend with strokes that find regions, with the brush where they do not help."""
    while mending.strokes < most and mending.dice[-1] < GOOD:
        found = errors(mending.mask, mending.truth, mending.spacing)
        if not found:
            return
        error = found[0]
        if not region(mending, image, percent, error, rng):
            paint(mending, error, error.index)


def region(mending: Mending, image: np.ndarray, percent: np.ndarray, error: Error, rng: np.random.Generator) -> bool:
    """Draw one stroke, and take the region at the best of its sizes; tells whether that was worth it."""
    drawn = np.zeros(mending.mask.shape, bool)
    drawn[error.index], mm = draw(error.where[error.index], mending.spacing[1:], rng)
    where = (error.index,) if len(mending.mask) > 1 else ()
    if not where:
        image, mask, drawn, fixed, percent, spacing = image[0], mending.mask[0], drawn[0], mending.fixed[0], percent[0], mending.spacing[1:]
    else:
        mask, fixed, spacing = mending.mask, mending.fixed, mending.spacing
    begun = time.perf_counter()
    answers = []
    try:
        for answer in regions(Stroke(image, mask, drawn, fixed, percent, spacing, int(not error.missing), where)):
            answers.append((time.perf_counter() - begun, answer))
    except InputError:
        return False
    mending.seconds.append((answers[0][0], answers[-1][0]))
    answer = answers[-1][1]
    box = answer.box if where else (slice(0, 1), *answer.box)
    wrong = (mending.truth != (mending.mask > 0))[box]
    best, chosen = 0, None
    for size in SIZES:
        at = answer.at(size).reshape(wrong.shape)
        gain = np.count_nonzero(at & wrong) - np.count_nonzero(at & ~wrong)
        if gain > best:
            best, chosen = gain, at
    if chosen is None or best < 0.2 * np.count_nonzero(error.where):
        return False
    before = mending.mask.copy()
    mending.mm += mm
    mending.change(box, chosen, int(error.missing))
    held = mending.fixed.copy()
    held[box] &= ~chosen
    assert (before[held] == mending.mask[held]).all(), "a corrected voxel was changed"
    return True


def held_out(dataset: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]]:
    """Case, kind of error, image, percent, wrong mask, truth and spacing."""
    model = load_model(DEFAULT_MODEL)
    for path in sorted((dataset / "imagesTs").glob("*.nii.gz")):
        case = path.name.removesuffix("_0000.nii.gz")
        image, labels = (read(one).reorient()[0] for one in (path, dataset / "labelsTs" / f"{case}.nii.gz"))
        array, truth = (np.asarray(one.array).reshape((-1, *one.array.shape[-2:])) for one in (image, labels))
        if not truth.any():
            continue
        spacing = (SLICE_MM,) * (3 - len(image.spacing)) + tuple(float(step) for step in image.spacing)
        for kind, seen in (("lung-ct", array), ("narrow window", narrowed(array))):
            made = segment(Volume(seen, scaling(spacing), unit="HU" if kind == "lung-ct" else "arbitrary"), model)
            yield case, kind, seen, np.asarray(made.probability.array), np.asarray(made.labels.array), truth > 0, spacing
        weak = ndimage.binary_opening((array < -400) & _inside(array), np.ones((1, 3, 3), bool))
        yield case, "threshold", array, (100 * weak).astype(np.uint8), weak.astype(np.uint8), truth > 0, spacing


def _inside(image: np.ndarray) -> np.ndarray:
    """All that is not joined to the border of its slice through air."""
    inside = np.zeros(image.shape, bool)
    for index, one in enumerate(image):
        parts, _ = ndimage.label(one < -400)
        outside = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        inside[index] = ~np.isin(parts, outside) & (parts > 0)
    return inside


def main() -> None:
    """Mend all held-out masks in each way, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--most-slices", type=int, default=10**6, help="leave out what has more: a volume takes minutes")
    chosen = parser.parse_args()
    rows: dict[tuple[str, str, str], list[Mending]] = {}
    for number, (case, kind, image, percent, mask, truth, spacing) in enumerate(held_out(chosen.dataset)):
        if len(mask) > chosen.most_slices:
            continue
        what = "slice" if len(mask) == 1 else "volume"
        for way in ("brush", "regions"):
            mending = Mending((mask > 0).astype(np.uint8), truth, spacing, np.zeros(mask.shape, bool))
            mending.note()
            if mending.dice[0] >= GOOD:
                break
            if way == "brush":
                by_brush(mending, MOST_STROKES[what])
            else:
                by_regions(mending, image, percent, MOST_STROKES[what], np.random.default_rng(number))
            rows.setdefault((what, kind, way), []).append(mending)
            print(f"{case} {kind} {way}: Dice {mending.dice[0]:.3f} -> {mending.dice[-1]:.3f} in {mending.strokes} strokes, "
                  f"{mending.mm:.0f} mm", file=sys.stderr, flush=True)  # fmt: skip
    print(f"{platform.machine()}, {platform.python_version()}\n")
    print("Mean Dice after strokes, and medians when no error of 0.5 cm2 is left, or a Dice of 0.99 is reached:\n")
    print("| masks | way | cases | before |" + "".join(f" {number} |" for number in AFTER) + " at the end | strokes | mm of stroke |")
    print("|---|---|---|---|" + "---|" * (len(AFTER) + 3))
    for (what, kind, way), all_of in sorted(rows.items()):
        dice = [statistics.mean(one.after(number) for one in all_of) for number in (0, *AFTER, 10**6)]
        strokes, mm = (statistics.median(values) for values in zip(*((one.strokes, one.mm) for one in all_of), strict=True))
        cells = " | ".join(f"{value:.3f}" for value in dice)
        print(f"| {what}, {kind} | {way} | {len(all_of)} | {cells} | {strokes:g} | {mm:.0f} |")
    for what in ("slice", "volume"):
        seconds = [pair for (of, _, _), all_of in rows.items() if of == what for one in all_of for pair in one.seconds]
        if seconds:
            first, last = zip(*seconds, strict=True)
            print(f"\nAnswers on a {what}: displayed slice median {1e3 * statistics.median(first):.0f} ms, worst {1e3 * max(first):.0f}; "
                  f"all of it median {1e3 * statistics.median(last):.0f}, worst {1e3 * max(last):.0f}; {len(seconds)} strokes")  # fmt: skip


if __name__ == "__main__":
    main()
