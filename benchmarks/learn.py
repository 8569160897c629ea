"""What a few corrected slices teach, on kinds of images that the base model does badly on.

    python benchmarks/learn.py DATA [--kinds NAME ...] [--slices 3 5 10 20 all] [--minutes 1] [--plain 10] [--ranked 5 10]

DATA is the folder of real CT and radiographs with masks that docs/model-card.md lists. Slices are learnt from patients that lung-ct
has never seen and tested on others that it has never seen either; the base cases are single held-out slices of still other
patients. "Corrected" slices are those with the reference mask. Every model is trained through the same calls as in the window, for at
most --minutes.

--plain N learns from N slices without replay and distillation and without going back towards the old weights.

--ranked N learns from N slices that are chosen by chance, by the order of the review, and by a noisy choice within each class that the
mask has (see stratified()), each with --seeds seeds. Such a run has so many steps and no time limit, so that its figures do not depend on
what else the machine does. With --rows FILE each row is kept there, and a run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_lungseg.formats import read
from napari_lungseg.model import Model, load_model
from napari_lungseg.review import in_doubt, measure_slices, rank
from napari_lungseg.segmentation import segment
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.run import run
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import CasesSource, TrainingCase, only_slices
from napari_lungseg.training.updates import Finished
from napari_lungseg.volume import Volume

BASE = "lung-ct"
#: Patients that lung-ct has not seen: to correct slices of, and to test on.
LEARN = (
    ("lung_dx_a0002", "lung_dx_a0002/dicom_b40f", "lung_dx_a0002/lungs.nii.gz"),
    ("cmb_crc", "cmb_crc_01068/ct_every4.nii.gz", "cmb_crc_01068/lungs.nii.gz"),
)
TEST = (("lidc_0002", "lidc_more/LIDC-IDRI-0002_ct_every6.nii.gz", "lidc_more/LIDC-IDRI-0002_lungs.nii.gz"),)
#: Held-out single slices of other patients: what must not be forgotten.
HELD_OUT_TCGA = (
    "60-2695",
    "60-2716",
    "92-8064",
    "34-5234",
    "50-8459",
    "17-Z054",
    "17-Z021",
    "17-Z051",
    "50-6673",
    "92-8063",
    "60-2724",
    "60-2722",
    "60-2723",
)
DISEASED = {"learn": ("A002304", "A046441"), "test": ("A056642", "A072894")}

Pair = tuple[str, Volume, Volume]


def window_8_bit(volume: Volume, level: float, width: float, *, inverted: bool = False) -> Volume:
    """As a screenshot shows it."""
    seen = np.clip((np.asarray(volume.array, dtype=np.float32) - level) / width + 0.5, 0, 1)
    return volume.with_array(((1 - seen if inverted else seen) * 255).round().astype(np.uint8))


def low_dose(volume: Volume) -> Volume:
    """Grainy noise of 300 HU, as a scan with a small fraction of the dose has through the shoulders."""
    rng = np.random.default_rng(0)
    values = np.asarray(volume.array, dtype=np.float32)
    noise = ndimage.gaussian_filter(rng.standard_normal(values.shape).astype(np.float32), (0, 0.8, 0.8))
    noisy = values + 300.0 / noise.std() * noise
    return volume.with_array(np.clip(noisy, -1024, 3071).round().astype(np.int16), "HU")


SHIFTS: dict[str, Callable[[Volume], Volume]] = {
    "mediastinal window, 8 bit": lambda volume: window_8_bit(volume, 40, 400),
    "very low dose": low_dose,
    "inverted greys, 8 bit": lambda volume: window_8_bit(volume, -500, 1500, inverted=True),
}


def pairs(data: Path, listed: tuple[tuple[str, str, str], ...]) -> list[Pair]:
    found = []
    for name, image, labels in listed:
        volume = read(data / image)
        found.append((name, volume, volume.with_array((np.asarray(read(data / labels).array) > 0).astype(np.uint8))))
    return found


def base_pairs(data: Path) -> list[Pair]:
    files = [
        path
        for path in sorted((data / "tcga_slices").glob("*.nii.gz"))
        if path.name.split("_")[2].removeprefix("TCGA-").split(".")[0] in HELD_OUT_TCGA
    ]
    return pairs(data, tuple((path.name.split(".")[0], f"tcga_slices/{path.name}", f"tcga_slices/lungs/{path.name}") for path in files))


def diseased(data: Path, group: str) -> list[Pair]:
    files = [path for path in sorted((data / "sbu_covid/axial").glob("*.dcm")) if path.name.split("_")[0] in DISEASED[group]]
    return pairs(data, tuple((path.stem, f"sbu_covid/axial/{path.name}", f"sbu_covid/lungs/{path.stem}.nii.gz") for path in files))


def radiographs(data: Path) -> tuple[list[Pair], list[Pair]]:
    """By patient: two thirds to learn from, one third to test on."""
    rows = list(csv.DictReader((data / "cxr_covid/manifest.csv").open()))
    patients = sorted({row["patientid"] for row in rows})
    tested = set(patients[::3])
    groups: tuple[list[Pair], list[Pair]] = ([], [])
    for row in rows:
        image, mask = (read(data / "cxr_covid" / kind / row["file"]) for kind in ("images", "masks"))
        groups[row["patientid"] in tested].append((row["file"], image, mask.with_array((np.asarray(mask.array) > 0).astype(np.uint8))))
    return groups


def dice(model: Model, tested: list[Pair]) -> float:
    """Over all voxels of all cases together, after post-processing as in the window."""
    overlap = total = 0.0
    for _, image, labels in tested:
        found, known = np.asarray(segment(image, model).labels.array) > 0, np.asarray(labels.array) > 0
        overlap, total = overlap + (found & known).sum(), total + found.sum() + known.sum()
    return 2 * overlap / total


def chosen(cases: list[Pair], count: int | None) -> list[TrainingCase]:
    """So many slices, evenly spread over the cases and over each; None for all."""
    slices = [1 if image.ndim == 2 else image.shape[0] for _, image, _ in cases]
    total = sum(slices)
    wanted = range(total) if count is None else np.linspace(0, total - 1, min(count, total) + 2).round().astype(int)[1:-1]
    if count is not None and all(number == 1 for number in slices):
        wanted = np.random.default_rng(count).permutation(total)[:count]
    found, before = [], 0
    for (name, image, labels), number in zip(cases, slices):
        mine = [int(place) - before for place in wanted if before <= place < before + number]
        before += number
        if mine or image.ndim == 3:
            found.append(only((name, image, labels), mine))
    return found


def only(case: Pair, judged: list[int]) -> TrainingCase:
    """A case of which some slices are judged."""
    name, image, labels = case
    known = only_slices(np.asarray(labels.array), 0, judged)
    return TrainingCase(name, name, image, image.with_array(known))


@dataclass
class Trained:
    model: Model
    accepted: bool
    why: str
    seconds: float
    all_seconds: float
    epochs: int


def learn(cases: list[TrainingCase], settings: TrainSettings) -> Trained:
    folder = Path(tempfile.mkdtemp()) / "tuned"
    began = time.perf_counter()
    try:
        for _ in prepare(CasesSource(cases), folder, base=BASE, settings=settings):
            pass
        finished, epochs = None, 0
        for update in run(folder, device="cpu"):
            epochs += type(update).__name__ == "EpochDone"
            finished = update if isinstance(update, Finished) else finished
        assert finished is not None
        return Trained(
            load_model(folder), finished.verdict.accepted, finished.verdict.why, finished.seconds, time.perf_counter() - began, epochs
        )
    finally:
        shutil.rmtree(folder.parent)


def kinds(data: Path, names: list[str]) -> dict[str, tuple[list[Pair], list[Pair]]]:
    """Cases to learn from and to test on, by the kind of image."""
    found = {}
    learn_from, test_on = pairs(data, LEARN), pairs(data, TEST)
    for name, shift in SHIFTS.items():
        found[name] = tuple([(case, shift(image), labels) for case, image, labels in group] for group in (learn_from, test_on))
    found["radiographs"] = radiographs(data)
    found["heavy disease"] = (diseased(data, "learn"), diseased(data, "test"))
    return {name: groups for name, groups in found.items() if not names or name in names}


#: How slices are chosen to learn from.
WAYS = ("chance", "review", "stratified")
#: Epochs of ten steps for each run of --ranked.
RANKED_EPOCHS = 15
#: Of the first and the last slice of a noisy choice: the score counts for more the higher it is.
POWERS = (1.0, 10.0)


@dataclass
class Seen:
    """What the base model says of the slices of one case."""

    spacing: tuple[float, ...]
    labels: np.ndarray
    percent: np.ndarray


def ranked(cases: list[Pair], seen: list[Seen], count: int, way: str, seed: int) -> list[TrainingCase]:
    """Choose slices of volumes by "chance", by the "review", or by the "stratified" noisy choice."""
    rng = np.random.default_rng(seed)
    if way == "stratified":
        taken = stratified(seen, count, rng)
    else:
        places = []
        for number, one in enumerate(seen):
            scores = measure_slices(one.labels, one.spacing, one.percent, axis=0).expected_error_mm2()
            order = rng.permutation(len(one.labels)) if way == "chance" else rank(scores, [], one.spacing[0])
            places += [(turn, number, int(index)) for turn, index in enumerate(order)]
        taken = [(number, index) for _, number, index in sorted(places)[:count]]
    return [only(case, [index for which, index in taken if which == number]) for number, case in enumerate(cases)]


def stratified(seen: list[Seen], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw slices for each label of the masks in turn, by doubt with noise that decays.

    The doubt of a slice for a label is the area in doubt of its voxels that have the label, in the class-wise manner of ClaSP PE
    (arXiv 2601.13677). Its logarithm gets Gumbel noise, divided by a power that rises from the first to the last slice.
    """
    places = [(number, index) for number, one in enumerate(seen) for index in range(len(one.labels))]
    doubt = np.array(
        [
            [
                np.count_nonzero(in_doubt(one.percent[index]) & (one.labels[index] == label)) * np.prod(one.spacing[1:])
                for label in (1, 2, 0)
            ]
            for one in seen
            for index in range(len(one.labels))
        ]
    )
    taken: list[int] = []
    for turn, power in enumerate(np.geomspace(*POWERS, count)):
        score = np.log(doubt[:, turn % 3] + 1.0) + rng.gumbel(size=len(places)) / power
        score[taken] = -np.inf
        taken.append(int(score.argmax()))
    return [places[place] for place in taken]


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--slices", nargs="*", default=["3", "5", "10", "20", "all"])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--plain", type=int, nargs="*", default=[])
    parser.add_argument("--ranked", type=int, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=Path, help="keep what --ranked finds in this file, and go on from there")
    given = parser.parse_args()
    if given.ranked:
        compare_choices(given)
        return
    base, old = load_model(BASE), base_pairs(given.data)
    settings = TrainSettings.fine_tuning(minutes=given.minutes)
    plain = TrainSettings.fine_tuning(minutes=given.minutes, replay=0.0, distillation=0.0, keep_old=False)
    old_dice = dice(base, old)
    row("kind", "slices", "how", "Dice before", "after", "base Dice before", "after", "accepted", "training s", "all s")
    row(*["---"] * 10)
    for name, (learn_from, test_on) in kinds(given.data, given.kinds).items():
        before = dice(base, test_on)
        for count, how, cases, chosen_settings in runs(given, learn_from, base, settings, plain):
            trained = learn(cases, chosen_settings)
            row(
                name,
                count,
                how,
                before,
                dice(trained.model, test_on),
                old_dice,
                dice(trained.model, old),
                "yes" if trained.accepted else "no",
                round(trained.seconds),
                round(trained.all_seconds),
            )


def runs(given: argparse.Namespace, cases: list[Pair], base: Model, settings: TrainSettings, plain: TrainSettings):
    total = sum(1 if image.ndim == 2 else image.shape[0] for _, image, _ in cases)
    for wanted in given.slices:
        if wanted == "all" or int(wanted) < total:
            yield wanted, "as it ships", chosen(cases, None if wanted == "all" else int(wanted)), settings
    for count in given.plain:
        yield count, "nothing against forgetting", chosen(cases, count), plain


def compare_choices(given: argparse.Namespace) -> None:
    """Learn from slices chosen in three ways, and print the means and the standard deviations over the seeds."""
    base, old = load_model(BASE), base_pairs(given.data)
    done = {tuple(one[:4]): one[4:] for one in _kept(given.rows)}
    found = kinds(given.data, given.kinds)
    seen = {name: [_look(image, base) for _, image, _ in learn_from] for name, (learn_from, _) in found.items()}
    # All ways of one seed before the next, so that what is there early compares them.
    for seed in range(given.seeds):
        for name, (learn_from, test_on) in found.items():
            for count in given.ranked:
                for way in WAYS:
                    if (name, count, way, seed) in done:
                        continue
                    settings = TrainSettings.fine_tuning(minutes=None, epochs=RANKED_EPOCHS, patience=None, seed=seed)
                    trained = learn(ranked(learn_from, seen[name], count, way, seed), settings)
                    values = [dice(trained.model, test_on), dice(trained.model, old), trained.accepted]
                    done[name, count, way, seed] = values
                    if given.rows:
                        with given.rows.open("a") as file:
                            file.write(json.dumps([name, count, way, seed, *values]) + "\n")
    row("kind", "slices", "chosen by", "seeds", "Dice before", "after, mean", "standard deviation", "base Dice, mean", "accepted")
    row(*["---"] * 9)
    for name, (_, test_on) in found.items():
        before = dice(base, test_on)
        for count in given.ranked:
            for way in WAYS:
                new, kept, accepted = zip(*(done[name, count, way, seed] for seed in range(given.seeds)), strict=True)
                spread = statistics.stdev(new) if len(new) > 1 else "-"
                row(name, count, way, len(new), before, statistics.mean(new), spread, statistics.mean(kept), f"{sum(accepted)}/{len(new)}")


def _look(image: Volume, model: Model) -> Seen:
    found = segment(image, model)
    return Seen(image.spacing, np.asarray(found.labels.array), np.asarray(found.probability.array))


def _kept(path: Path | None) -> Iterator[list]:
    if path and path.exists():
        yield from (json.loads(line) for line in path.read_text().splitlines())


if __name__ == "__main__":
    main()
