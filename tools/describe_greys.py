"""Write the grey values of the images that a bundled model has learnt from into its card, by which images unlike them are told.

    python tools/describe_greys.py DATASET MODEL

DATASET is the folder in nnU-Net raw layout that the model was trained on (tools/lung_ct_dataset.py); of each case of imagesTr one line goes
into the card, under training.greys.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from napari_lungseg.card import read_card
from napari_lungseg.cases.likeness import GREYS, grey_shares, to_card
from napari_lungseg.formats import read
from napari_lungseg.library import CARD_FILE, place_model
from napari_lungseg.model import bundled_folder


def main(dataset: Path, model: str) -> None:
    folder = bundled_folder(model)
    card = read_card(folder / CARD_FILE)
    cases = {}
    for path in sorted((dataset / "imagesTr").glob("*_0000.nii.gz")):
        shares = grey_shares(read(path), card.preprocessing)
        if shares is not None:
            cases[path.name.removesuffix("_0000.nii.gz")] = shares
    place_model({CARD_FILE: replace(card, training=card.training | {GREYS: to_card(cases)}).to_json().encode()}, folder)
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
