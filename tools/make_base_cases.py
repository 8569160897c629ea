"""Gather the slices that go with a bundled model: some to learn from again, some to prove that nothing was forgotten.

    python tools/make_base_cases.py DATASET MODEL [--replay N] [--frozen N]

DATASET is the folder in nnU-Net raw layout that the model was trained on (tools/lung_ct_dataset.py, tools/lung_xray_dataset.py). Slices to
learn from again come from its imagesTr (patients to learn from), frozen ones from its imagesTs (held-out patients); where there are
none, from the patients that the model's card calls watched, who are then not learnt from again either. Cases whose licence does not
allow it are left out. Every slice is cropped to the body and written as PNG: 256 greys over the model's window, and its mask.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from napari_lungseg.card import read_card
from napari_lungseg.model import bundled_folder
from napari_lungseg.training.dataset import Dataset, open_dataset
from napari_lungseg.training.samples import CASES, LabelledSlice, slices_of

#: The patient's origin is not documented: to train and test with, not to ship.
NOT_SHIPPED = ("pyradiomics",)
#: Slices of one case at most, so that many patients are among them.
MOST_PER_CASE = 4


def choose(data: Dataset, cases: tuple[str, ...], count: int, card) -> list[LabelledSlice]:
    """Slices spread over patients and heights; of volumes a few evenly spaced ones, ends included."""
    by_case = []
    for case in cases:
        if case.startswith(NOT_SHIPPED):
            continue
        image, labels = data.load(case)
        slices = list(slices_of(case, image, labels.with_array((np.asarray(labels.array) > 0).astype(np.uint8)), card.preprocessing))
        places = np.unique(np.linspace(0, len(slices) - 1, min(MOST_PER_CASE, len(slices)) + 2).round().astype(int)[1:-1])
        by_case.append([slices[int(place)] for place in (places if len(slices) > 1 else [0])])
    chosen: list[LabelledSlice] = []
    for turn in range(MOST_PER_CASE):
        ring = [slices[turn] for slices in by_case if turn < len(slices)]
        left = count - len(chosen)
        if len(ring) > left:
            ring = [ring[int(place)] for place in np.linspace(0, len(ring) - 1, left).round()] if left else []
        chosen += ring
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model")
    parser.add_argument("--replay", type=int, default=24)
    parser.add_argument("--frozen", type=int, default=24)
    given = parser.parse_args()
    data = open_dataset(given.dataset)
    folder = bundled_folder(given.model)
    card = read_card(folder / "card.json")
    out = folder / CASES
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    entries = []
    watched = {patient for patient, side in card.training["split"]["patients"].items() if side == "validation"}
    held_out = data.held_out or tuple(case for case in data.cases if data.patients[case] in watched)
    learnt = tuple(case for case in data.train if case not in held_out)
    for frozen, cases, count in ((False, learnt, given.replay), (True, held_out, given.frozen)):
        for item in choose(data, cases, count, card):
            low, high = card.preprocessing.window_hu if item.is_hu else (0.0, 255.0)
            greys = np.clip((item.image.astype(np.float64) - low) * (255.0 / (high - low)), 0, 255).round().astype(np.uint8)
            stem = f"{item.case}_{item.index:03d}"
            Image.fromarray(greys).save(out / f"{stem}.png", optimize=True)
            Image.fromarray(np.asarray(item.label)).save(out / f"{stem}_label.png", optimize=True)
            entries.append(
                {
                    "case": item.case,
                    "patient": data.patients[item.case],
                    "index": item.index,
                    "frozen": frozen,
                    "image": f"{stem}.png",
                    "label": f"{stem}_label.png",
                    "window": [low, high],
                    "unit": "HU" if item.is_hu else "arbitrary",
                    "spacing_mm": [round(step, 6) for step in item.spacing_mm],
                }
            )
    (out / "cases.json").write_text(json.dumps({"sources": data.sources, "slices": entries}, indent=1) + "\n")
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{len(entries)} slices, {size / 2**20:.1f} MiB, in {out}")


if __name__ == "__main__":
    main()
