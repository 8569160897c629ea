"""How many strokes a robot person needs to mend wrong masks of held-out patients: brush alone, classic tools, strokes that find regions.

    python benchmarks/effort.py DATASET --weak MODEL [--rows FILE] [--picture FILE] [--most-slices N] [--fewest-slices N]

DATASET is a folder as tools/lung_ct_dataset.py writes it; only its held-out cases (imagesTs) are used. Their masks are wrong as lung-ct
itself is wrong, as it is on an image that was saved with a narrow window, and as a weak model is:

    napari-lungseg train DATASET -o MODEL --epochs 2 --steps-per-epoch 60 --batch-size 4 --view-px 256

The robot draws into the largest error first, misplaced and of uneven width. With the brush it paints what a disc that fits covers,
slice by slice, which flatters the brush: a person is not so exact. Of the classic tools (fill holes, remove the clicked island, closing,
opening, a broad brush that changes only voxels as bright as those under its middle) it tries all and takes the one that mends most; each
is a click. Of a region it looks at five sizes and takes the best. Where these make the mask no better it takes the brush, and with the
brush it traces the rims that are left at the end. It goes on until a Dice of 0.99 is reached and no error of 1 mL is left, or it has no
strokes left.

With --rows FILE each case is kept there, and a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cc3d
import numpy as np
from scipy import ndimage

from napari_lungseg import edit
from napari_lungseg.edit.stroke import Stroke, regions
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read
from napari_lungseg.model import DEFAULT_MODEL, load_model
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume, bounding_box, scaling

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from stroke_robot import SMALLEST_CM2, Error, disc, draw, narrowed

SIZES = (-3.0, -1.0, 0.0, 1.5, 3.0)
AFTER = (1, 2, 3, 5, 10, 20, 40)
#: What is aimed at: Dice, and the volume (mL) that no remaining error may have.
GOOD, BETTER, LARGEST_ML = 0.98, 0.99, 1.0
#: From this Dice on a mask is not looked at.
MOST_STROKES = {"slice": 40, "volume": 40}
#: Thickness (mm) that a single slice is taken to have.
SLICE_MM = 5.0
#: Part of an error that a stroke must mend to be kept.
WORTH = 0.2
#: Radius (mm) of the tools closing and opening.
SMOOTH_MM = (3.0, 6.0)
WAYS = ("brush", "tools", "regions")


@dataclass
class Row:
    """What mending one mask in one way has cost, stroke by stroke."""

    case: str
    what: str
    kind: str
    way: str
    dice: list[float] = field(default_factory=list)
    largest_ml: list[float] = field(default_factory=list)
    mm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    answers: list[tuple[float, float]] = field(default_factory=list)

    def until(self, reached: Callable[[float, float], bool]) -> int | None:
        """After how many strokes the Dice and the largest error are so; None if never."""
        return next((number for number, pair in enumerate(zip(self.dice, self.largest_ml, strict=True)) if reached(*pair)), None)


#: What is aimed at, by its name in the tables.
AIMS: dict[str, Callable[[float, float], bool]] = {
    f"Dice {GOOD}": lambda dice, _: dice >= GOOD,
    f"Dice {BETTER}": lambda dice, _: dice >= BETTER,
    f"errors < {LARGEST_ML:g} mL": lambda _, ml: ml < LARGEST_ML,
}


class Mending:
    """A mask on its way, and what it has cost.

    Parameters
    ----------
    row : Row
        What is written down.
    image, percent, mask : (Z, Y, X) array
        Intensities, the model's probability, and the wrong mask.
    truth : array of bool
        What it should be.
    spacing : tuple of float
        Millimetres along each axis.
    """

    def __init__(self, row: Row, image: np.ndarray, percent: np.ndarray, mask: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]):
        self.row, self.image, self.percent, self.truth, self.spacing = row, image, percent, truth, spacing
        self.mask = (mask > 0).astype(np.uint8)
        self.fixed = np.zeros(mask.shape, bool)
        self.voxel_ml = float(np.prod(spacing)) / 1000
        self._opened = {True: np.zeros(mask.shape, bool), False: np.zeros(mask.shape, bool)}
        self._look(slice(0, len(mask)))
        self._note(0.0, 0.0)

    def _look(self, slices: slice) -> None:
        """Find what is wrong on some slices, without rims."""
        for missing, opened in self._opened.items():
            wrong = self._wrong(missing, slices)
            opened[slices] = ndimage.binary_opening(wrong, disc(self.spacing[1])) if wrong.any() else False

    def _wrong(self, missing: bool, slices: slice = slice(None)) -> np.ndarray:
        mask, truth = self.mask[slices] > 0, self.truth[slices]
        return truth & ~mask if missing else mask & ~truth

    def _note(self, mm: float, seconds: float) -> None:
        row = self.row
        both = np.count_nonzero((self.mask > 0) & self.truth)
        row.dice.append(2 * both / (np.count_nonzero(self.mask) + np.count_nonzero(self.truth)))
        found = self.error()
        row.largest_ml.append(0.0 if found is None else found.ml)
        row.mm.append(mm + (row.mm[-1] if row.mm else 0.0))
        row.seconds.append(seconds + (row.seconds[-1] if row.seconds else 0.0))

    @property
    def done(self) -> bool:
        """Whether all aims are reached, or no strokes are left."""
        row = self.row
        return len(row.dice) > MOST_STROKES[row.what] or (row.dice[-1] >= BETTER and row.largest_ml[-1] < LARGEST_ML)

    def error(self) -> Error | None:
        """The largest error but rims; None if there is none of 0.5 cm2 on a slice."""
        best: tuple[float, bool, np.ndarray, tuple[slice, ...]] | None = None
        for missing, opened in self._opened.items():
            numbers = cc3d.connected_components(opened, connectivity=6)
            known = cc3d.statistics(numbers)
            for number in np.argsort(-known["voxel_counts"][1:].astype(np.int64))[:3] + 1 if numbers.any() else ():
                box, ml = known["bounding_boxes"][number], float(known["voxel_counts"][number]) * self.voxel_ml
                part = numbers[box] == number
                if self._areas(part).max() >= SMALLEST_CM2 and (best is None or ml > best[0]):
                    best = ml, missing, part, box
        if best is None:
            return None
        ml, missing, part, box = best
        where = np.zeros(self.mask.shape, bool)
        where[box] = part
        return Error(missing, where, box[0].start + int(self._areas(part).argmax()), ml)

    def rim(self) -> Error | None:
        """The largest error of one slice, rims too."""
        best: Error | None = None
        for missing in (True, False):
            wrong = self._wrong(missing)
            index = int(wrong.sum(axis=(1, 2)).argmax())
            parts, count = ndimage.label(wrong[index])
            if count:
                sizes = np.bincount(parts.ravel())[1:]
                ml = float(sizes.max()) * self.voxel_ml
                if best is None or ml > best.ml:
                    where = np.zeros(self.mask.shape, bool)
                    where[index] = parts == 1 + sizes.argmax()
                    best = Error(missing, where, index, ml)
        return best

    def _areas(self, part: np.ndarray) -> np.ndarray:
        return part.sum(axis=(1, 2)) * self.spacing[1] * self.spacing[2] / 100

    def gain(self, box: tuple[slice, ...], where: np.ndarray) -> int:
        """How many voxels more are right when these are changed."""
        wrong = (self.truth != (self.mask > 0))[box]
        return int(np.count_nonzero(where & wrong)) - int(np.count_nonzero(where & ~wrong))

    def change(self, box: tuple[slice, ...], where: np.ndarray, label: int, mm: float, seconds: float) -> None:
        """Set voxels, as a person."""
        before = self.mask.copy()
        self.mask[box][where] = label
        held = self.fixed.copy()
        self.fixed[box][where] = True
        if self.row.way == "regions" and seconds:
            assert (before[held] == self.mask[held]).all(), "a corrected voxel was changed"
        self._look(box[0])
        self._note(mm, seconds)


def paint(mending: Mending, error: Error) -> None:
    """One stroke of the brush on a slice of an error: all that a disc of 80 % of its depth covers on its way."""
    wrong, flat = error.where[error.index], mending.spacing[1:]
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1), sampling=flat)[1:-1, 1:-1]
    radius = max(0.8 * depth.max(), min(flat))
    parts, _ = ndimage.label(depth >= min(radius, depth.max()))
    middle = parts == parts[np.unravel_index(depth.argmax(), depth.shape)]
    covered = (ndimage.distance_transform_edt(~middle, sampling=flat) < radius) & wrong
    mm = covered.sum() * float(np.prod(flat)) / (2 * radius)
    mending.change((slice(error.index, error.index + 1), slice(None), slice(None)), covered[None], int(error.missing), mm, 0.0)


def trace(mending: Mending, error: Error) -> None:
    """Draw along a rim with a fine brush."""
    mm = np.count_nonzero(error.where) * float(np.prod(mending.spacing[1:])) / (2 * max(mending.spacing[1:]))
    box = (slice(error.index, error.index + 1), slice(None), slice(None))
    mending.change(box, error.where[box], int(error.missing), mm, 0.0)


def mend(mending: Mending, rng: np.random.Generator) -> None:
    """Mend in the way of the row until the aims are reached."""
    while not mending.done:
        error = mending.error()
        if error is None:
            rim = mending.rim()
            if rim is None:
                return
            trace(mending, rim)
        elif not (mending.row.way == "tools" and tool(mending, error, rng)) and not (
            mending.row.way == "regions" and region(mending, error, rng)
        ):
            paint(mending, error)


def tool(mending: Mending, error: Error, rng: np.random.Generator) -> bool:
    """Click with the tool that mends most; tells whether that was worth it."""
    index, spacing = error.index, mending.spacing
    here = (slice(index, index + 1), slice(None), slice(None))
    depth = ndimage.distance_transform_edt(np.pad(error.where[index], 1), sampling=spacing[1:])[1:-1, 1:-1]
    places = np.argwhere(depth >= 0.6 * depth.max())
    at = (index, *(int(value) for value in places[rng.integers(len(places))]))
    chosen: tuple[int, np.ndarray, float] | None = None
    began = time.perf_counter()
    for use in _tools(mending, error, at, float(depth.max())):
        try:
            made = use()
        except InputError:
            continue
        now = time.perf_counter()
        changed = (made > 0) != (mending.mask > 0)
        gain = mending.gain((slice(None),) * 3, changed)
        if chosen is None or gain > chosen[0]:
            chosen = gain, changed, now - began
        began = time.perf_counter()
    if chosen is None or chosen[0] < WORTH * np.count_nonzero(error.where if len(mending.mask) > 1 else error.where[here]):
        return False
    _, changed, seconds = chosen
    box = bounding_box(changed)
    assert box is not None
    mending.change(box, changed[box], int(error.missing), 0.0, seconds)
    return True


def _tools(mending: Mending, error: Error, at: tuple[int, int, int], depth: float) -> Iterator[Callable[[], np.ndarray]]:
    """Tools, on the slice and in the volume; each makes a mask."""
    index, labels, spacing = error.index, mending.mask, mending.spacing
    flat = labels[index]

    def on_slice(use: Callable[[], np.ndarray]) -> np.ndarray:
        whole = labels.copy()
        whole[index] = use()
        return whole

    if error.missing:
        yield lambda: on_slice(lambda: edit.fill_holes(flat, 1))
        yield lambda: edit.fill_holes(labels, 1)
    elif labels[at]:
        yield lambda: on_slice(lambda: edit.remove_island(flat, at[1:]))
        yield lambda: edit.remove_island(labels, at)
    for mm in SMOOTH_MM:
        yield lambda mm=mm: on_slice(lambda: edit.smooth(flat, 1, "closing" if error.missing else "opening", mm, spacing[1:]))
    # A broad brush within the range of what lies under its middle.
    rows, columns = np.ogrid[: labels.shape[1], : labels.shape[2]]
    distance = np.hypot((rows - at[1]) * spacing[1], (columns - at[2]) * spacing[2])
    values = mending.image[index].astype(np.float32)
    known = values[distance <= max(0.5 * depth, 1.5)]
    alike = np.abs(values - known.mean()) <= max(2 * known.std(), 1e-6)
    for radius in (1.2 * depth, 2.5 * depth):
        yield lambda radius=radius: on_slice(lambda: np.where((distance <= radius) & alike, np.uint8(error.missing), flat))


def region(mending: Mending, error: Error, rng: np.random.Generator) -> bool:
    """Draw one stroke, and take the region at the best of its sizes; tells whether that was worth it."""
    drawn = np.zeros(mending.mask.shape, bool)
    drawn[error.index], mm = draw(error.where[error.index], mending.spacing[1:], rng)
    image, mask, fixed, percent, spacing = mending.image, mending.mask, mending.fixed, mending.percent, mending.spacing
    where = (error.index,) if len(mask) > 1 else ()
    if not where:
        image, mask, drawn, fixed, percent, spacing = image[0], mask[0], drawn[0], fixed[0], percent[0], spacing[1:]
    began = time.perf_counter()
    answers = []
    try:
        for answer in regions(Stroke(image, mask, drawn, fixed, percent, spacing, int(not error.missing), where)):
            answers.append((time.perf_counter() - began, answer))
    except InputError:
        return False
    mending.row.answers.append((answers[0][0], answers[-1][0]))
    answer = answers[-1][1]
    box = answer.box if where else (slice(0, 1), *answer.box)
    shape = tuple(part.stop - part.start for part in box)
    gain, chosen = max(((mending.gain(box, at), at) for at in (answer.at(size).reshape(shape) for size in SIZES)), key=lambda one: one[0])
    if gain < WORTH * np.count_nonzero(error.where):
        return False
    mending.change(box, chosen, int(error.missing), mm, answers[-1][0])
    return True


def held_out(
    dataset: Path, weak: Path, fewest: int, most: int
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]]:
    """Case, kind of error, image, percent, wrong mask, truth and spacing."""
    model, weak_model = load_model(DEFAULT_MODEL), load_model(weak)
    for path in sorted((dataset / "imagesTs").glob("*.nii.gz")):
        case = path.name.removesuffix("_0000.nii.gz")
        image, labels = (read(one).reorient()[0] for one in (path, dataset / "labelsTs" / f"{case}.nii.gz"))
        array, truth = (np.asarray(one.array).reshape((-1, *one.array.shape[-2:])) for one in (image, labels))
        if not truth.any() or not fewest <= len(truth) <= most:
            continue
        spacing = (SLICE_MM,) * (3 - len(image.spacing)) + tuple(float(step) for step in image.spacing)
        for kind, by, seen in (("lung-ct", model, array), ("weak model", weak_model, array), ("narrow window", model, narrowed(array))):
            made = segment(Volume(seen, scaling(spacing), unit="arbitrary" if kind == "narrow window" else "HU"), by)
            yield case, kind, seen, np.asarray(made.probability.array), np.asarray(made.labels.array), truth > 0, spacing


def main() -> None:
    """Mend all held-out masks in each way, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--weak", type=Path, required=True, help="folder of the weak model")
    parser.add_argument("--rows", type=Path, help="keep what is found in this file, and go on from there")
    parser.add_argument("--picture", type=Path, help="draw the curves into this file")
    parser.add_argument("--most-slices", type=int, default=10**6, help="leave out what has more: a volume takes minutes")
    parser.add_argument("--fewest-slices", type=int, default=1, help="leave out what has fewer")
    chosen = parser.parse_args()
    rows = [Row(**json.loads(line)) for line in chosen.rows.read_text().splitlines()] if chosen.rows and chosen.rows.exists() else []
    known = {(row.case, row.kind, row.way) for row in rows}
    found = held_out(chosen.dataset, chosen.weak, chosen.fewest_slices, chosen.most_slices)
    for number, (case, kind, image, percent, mask, truth, spacing) in enumerate(found):
        for way in WAYS:
            if (case, kind, way) in known:
                continue
            row = Row(case, "slice" if len(mask) == 1 else "volume", kind, way)
            mending = Mending(row, image, percent, mask, truth, spacing)
            if row.dice[0] >= BETTER and row.largest_ml[0] < LARGEST_ML:
                break
            mend(mending, np.random.default_rng(number))
            rows.append(row)
            print(f"{case} {kind} {way}: Dice {row.dice[0]:.3f} -> {row.dice[-1]:.3f} in {len(row.dice) - 1} strokes", file=sys.stderr)
            if chosen.rows:
                with chosen.rows.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
    report(rows)
    if chosen.picture:
        draw_curves(rows, chosen.picture)


def grouped(rows: list[Row]) -> dict[tuple[str, str], dict[str, list[Row]]]:
    """Rows by what they are of, and by the way."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: (row.what, row.kind, WAYS.index(row.way), row.case)):
        found.setdefault((row.what, row.kind), {}).setdefault(row.way, []).append(row)
    return found


def report(rows: list[Row]) -> None:
    """Print how many strokes, mm and seconds each aim takes, the Dice after strokes, and how long answers take."""
    print(f"{platform.machine()}, Python {platform.python_version()}\n")
    print(
        "Cases that reach an aim; medians of strokes, mm of stroke and seconds of computing over all cases, > where half do not reach it:\n"
    )
    print("| masks | way | cases | Dice before |" + "".join(f" {aim}: reached | strokes | mm | s |" for aim in AIMS))
    print("|---|---|---|---|" + "---|" * (4 * len(AIMS)))
    for (what, kind), ways in grouped(rows).items():
        for way, all_of in ways.items():
            cells = [f"{what}, {kind}", way, len(all_of), f"{statistics.mean(row.dice[0] for row in all_of):.3f}"]
            for reached in AIMS.values():
                ends = [row.until(reached) for row in all_of]
                cells.append(f"{sum(end is not None for end in ends)}/{len(ends)}")
                for values, digits in (
                    ([range(10**4)] * len(ends), 1),
                    ([row.mm for row in all_of], 0),
                    ([row.seconds for row in all_of], 2),
                ):
                    cells.append(_median(ends, values, digits))
            print("| " + " | ".join(map(str, cells)) + " |")
    print("\nMean Dice after strokes:\n")
    print("| masks | way | before |" + "".join(f" {number} |" for number in AFTER) + " at the end |")
    print("|---|---|---|" + "---|" * (len(AFTER) + 1))
    for (what, kind), ways in grouped(rows).items():
        for way, all_of in ways.items():
            means = [statistics.mean(row.dice[min(number, len(row.dice) - 1)] for row in all_of) for number in (0, *AFTER, 10**6)]
            print(f"| {what}, {kind} | {way} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    for what in ("slice", "volume"):
        answers = [pair for row in rows if row.what == what for pair in row.answers]
        if answers:
            first, last = zip(*answers, strict=True)
            print(f"\nAnswers on a {what}: displayed slice median {1e3 * statistics.median(first):.0f} ms, worst {1e3 * max(first):.0f}; "
                  f"all of it median {1e3 * statistics.median(last):.0f}, worst {1e3 * max(last):.0f}; {len(answers)} strokes")  # fmt: skip


def _median(ends: list[int | None], values: list, digits: int) -> str:
    """Median of the values at these ends; what never ends counts as more than all others."""
    ordered = sorted(np.inf if end is None else float(value[end]) for end, value in zip(ends, values, strict=True))
    middle = float(np.median(ordered))
    return f"{middle:.{digits}f}" if np.isfinite(middle) else ">"


def draw_curves(rows: list[Row], path: Path) -> None:
    """Draw the mean Dice after each stroke: a row for slices and one for volumes, a column for each kind of error."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import pyqtgraph as pg
    from pyqtgraph.exporters import ImageExporter
    from qtpy.QtCore import Qt

    lines = {"brush": Qt.PenStyle.DotLine, "tools": Qt.PenStyle.DashLine, "regions": Qt.PenStyle.SolidLine}
    pg.setConfigOptions(background="w", foreground="k", antialias=True)
    pg.mkQApp()
    groups = grouped(rows)
    kinds = sorted({kind for _, kind in groups})
    window = pg.GraphicsLayoutWidget(size=(360 * len(kinds), 560))
    for (what, kind), ways in groups.items():
        place = ("slice", "volume").index(what), kinds.index(kind)
        plot = window.addPlot(*place, title=f"{what}s, {kind} ({len(ways['regions'])})")
        if place == (0, 0):
            plot.addLegend(offset=(-5, -5))
        strokes = np.arange(MOST_STROKES[what] + 1)
        for way, all_of in ways.items():
            curve = [statistics.mean(row.dice[min(number, len(row.dice) - 1)] for row in all_of) for number in strokes]
            plot.plot(strokes, curve, name=way, pen=pg.mkPen("k", width=2, style=lines[way]))
        plot.addLine(y=BETTER, pen=pg.mkPen("r", width=1))
        plot.setLabels(bottom="strokes", left="mean Dice")
        plot.getAxis("left").enableAutoSIPrefix(False)
    window.show()
    exporter = ImageExporter(window.scene())
    exporter.export(str(path))


if __name__ == "__main__":
    main()
