"""Make the network in int8 of a bundled model, and write it with its card beside the weights if it passes.

    python tools/quantise.py DATASET MODEL

DATASET is the folder in nnU-Net raw layout that the model was trained on (tools/lung_ct_dataset.py,
tools/lung_xray_dataset.py). The network is calibrated with slices of imagesTr, 64 of them spread over patients and heights, and
held against the one in float32 on all slices of imagesTs; without an imagesTs, on every EVERY-th patient of imagesTr, who are left out
of the calibration. Dice of all pixels of each together must reach 0.9995, else the model stays without. Needs NNCF (the extra int8).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_lungseg.card import read_card
from napari_lungseg.library import CARD_FILE, INT8_FILE, place_model
from napari_lungseg.model import Model, bundled_folder, load_model
from napari_lungseg.training.dataset import Dataset, open_dataset
from napari_lungseg.training.quantise import add_int8, compare, facts, few, network_image, passes, quantise
from napari_lungseg.training.samples import LabelledSlice, slices_of
from napari_lungseg.training.updates import finish

EVERY = 5


def sides(data: Dataset) -> tuple[list[str], list[str]]:
    """Cases to calibrate with, and others to compare on."""
    if data.held_out:
        return list(data.train), list(data.held_out)
    others = set(sorted(set(data.patients.values()))[::EVERY])
    return [case for case in data.train if data.patients[case] not in others], [
        case for case in data.train if data.patients[case] in others
    ]


def slices(data: Dataset, case: str, model: Model) -> list[LabelledSlice]:
    """All slices of a case."""
    image, labels = data.load(case)
    marked = labels.with_array((np.asarray(labels.array) > 0).astype(np.uint8))
    return list(slices_of(case, image, marked, model.card.preprocessing))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model")
    given = parser.parse_args()
    data, folder = open_dataset(given.dataset), bundled_folder(given.model)
    card = replace(read_card(folder / CARD_FILE), int8=None)
    model = load_model(folder)
    calibrated_on, compared_on = sides(data)
    items = few(slices(data, case, model) for case in calibrated_on)
    images = [network_image(item, card) for item in items]
    network = quantise(model, images)
    counted = finish(compare(model, network, [("calibration", images)]))["calibration"]
    others = {}
    for case in compared_on:
        others.update(finish(compare(model, network, [(case, [network_image(item, card) for item in slices(data, case, model)])])))
        print(case, others[case][0] / max(1, others[case][1]), flush=True)
    patients = len({data.patients[item.case] for item in items})
    note = (
        f"tools/quantise.py: {len(items)} slices of {patients} patients that the model has learnt from, {len(others)} other cases compared"
    )
    int8, file = facts(network, note, counted, others)
    print({"MiB": len(file) / 2**20, **int8.dice}, "worst:", list(int8.cases.items())[:5])
    if passes(int8):
        add_int8(folder, card.weights_sha256, int8, file)
    else:
        print("It does not pass: the model stays in float32.")
        place_model({CARD_FILE: card.to_json().encode()}, folder)
        (folder / INT8_FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
