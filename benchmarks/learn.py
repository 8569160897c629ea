"""What a few corrected slices teach, on kinds of images that the base model does badly on.

    python benchmarks/learn.py DATA [--kinds ...] [--slices 3 5 10 20] [--parts a b c] [--minutes 1.0] [--json FILE]

DATA is the folder of real CT and radiographs with masks that docs/model-card.md lists. Slices are learnt from some patients that lung-ct
has never seen and tested on others that it has never seen either; the base cases are single held-out slices of still other patients.
"Corrected" slices are those with the reference mask. Every model is trained through the same calls as in the window.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_lungseg.formats import read
from napari_lungseg.metrics import evaluate
from napari_lungseg.model import Model, load_model
from napari_lungseg.segmentation import segment
from napari_lungseg.training.prepare import prepare
from napari_lungseg.training.run import run
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import CasesSource, TrainingCase
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
    import csv

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
        known = np.full(image.shape, IGNORE, np.uint8)
        planes = known if known.ndim == 3 else known[None]
        planes[mine] = np.asarray(labels.array).reshape(planes.shape)[mine]
        if mine or image.ndim == 3:
            found.append(TrainingCase(name, name, image, image.with_array(known)))
    return found


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
    found = {}
    learn_from, test_on = pairs(data, LEARN), pairs(data, TEST)
    for name, shift in SHIFTS.items():
        found[name] = [[(case, shift(image), labels) for case, image, labels in group] for group in (learn_from, test_on)]
    found["radiographs"] = radiographs(data)
    found["heavy disease"] = (diseased(data, "learn"), diseased(data, "test"))
    return {name: tuple(groups) for name, groups in found.items() if not names or name in names}
